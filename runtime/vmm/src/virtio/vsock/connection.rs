//! One connection between a port of the guest and a stream socket of the host.
//!
//! ```text
//! host connects:  Requested -(response)-> Established
//! guest connects:                         Established
//! Established -(both sides shut down, and all delivered)-> reset, gone
//! ```
//! Flow control is by credit in both directions: the guest never sends more than
//! [`BUFFER`] bytes that the host's socket did not take, and gets no more than it
//! has room for. The events of the socket are edge triggered, so `readable` keeps
//! what epoll told last.

mod from_guest;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::packet::{HEADER, Header, Op, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND};
use crate::memory::Memory;
use crate::sys;
use crate::virtio::queue::Chain;

/// Bytes from the guest that are kept for a socket that does not take them.
pub(super) const BUFFER: u32 = 128 * 1024;
/// Most bytes of one packet to the guest.
const MAX_PAYLOAD: usize = 64 * 1024;

/// The two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    pub(super) host: u32,
    pub(super) guest: u32,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The host asked; the guest has not answered.
    Requested,
    /// Data may flow.
    Established,
}

/// A packet for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) op: Op,
    pub(super) flags: u32,
    /// Bytes of payload, which are in the chain already.
    pub(super) len: usize,
}

impl Packet {
    fn new(op: Op) -> Packet {
        Packet {
            op,
            flags: 0,
            len: 0,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ports: Ports,
    /// Whether it is in the list of those with something for the guest.
    pub(super) listed: bool,
    stream: OwnedFd,
    state: State,
    /// Packets that are due.
    due: Due,
    /// The socket may have data, or its end.
    readable: bool,
    /// What the socket's other side shut down, as the guest is told.
    host_shut: u32,
    /// What of that the guest was told.
    host_shut_told: u32,
    /// The socket hung up: nobody reads or writes it any more.
    hung_up: bool,
    /// What the guest shut down.
    guest_shut: u32,
    /// Bytes from the guest that the socket has not taken.
    waiting: VecDeque<u8>,
    /// Bytes that came from the guest, and those that went on. Both wrap.
    received: u32,
    forwarded: u32,
    /// Value of `forwarded` that the guest knows.
    announced: u32,
    /// Bytes that went to the guest (wraps), and what the guest told of its room.
    sent: u32,
    guest_room: u32,
    guest_forwarded: u32,
    /// The guest was asked to tell about new room.
    asked_for_credit: bool,
}

#[derive(Debug, Default)]
struct Due {
    request: bool,
    response: bool,
    reset: bool,
    credit: bool,
}

impl Connection {
    /// A connection that the host asked for.
    pub(super) fn requested(ports: Ports, stream: OwnedFd) -> Connection {
        Connection::new(
            ports,
            stream,
            State::Requested,
            Due {
                request: true,
                ..Due::default()
            },
        )
    }

    /// A connection that the guest asked for with this packet.
    pub(super) fn accepted(ports: Ports, stream: OwnedFd, request: &Header) -> Connection {
        let due = Due {
            response: true,
            ..Due::default()
        };
        let mut connection = Connection::new(ports, stream, State::Established, due);
        connection.take_credit(request);
        connection
    }

    fn new(ports: Ports, stream: OwnedFd, state: State, due: Due) -> Connection {
        Connection {
            ports,
            listed: false,
            stream,
            state,
            due,
            // Data may have come before the socket was watched.
            readable: true,
            host_shut: 0,
            host_shut_told: 0,
            hung_up: false,
            guest_shut: 0,
            waiting: VecDeque::new(),
            received: 0,
            forwarded: 0,
            announced: 0,
            sent: 0,
            guest_room: 0,
            guest_forwarded: 0,
            asked_for_credit: false,
        }
    }

    /// Whether the driver has heard of it, so that it ends with the driver.
    pub(super) fn is_known(&self) -> bool {
        !self.due.request
    }

    /// Values of the credit fields of a packet that goes out now.
    pub(super) fn credit(&mut self) -> (u32, u32) {
        self.announced = self.forwarded;
        self.due.credit = false;
        (BUFFER, self.forwarded)
    }

    /// Bytes for which the guest has room. A guest that claims nonsense has none.
    fn window(&self) -> u32 {
        let under_way = self.sent.wrapping_sub(self.guest_forwarded);
        self.guest_room.saturating_sub(under_way)
    }

    fn wants_data(&self) -> bool {
        self.state == State::Established
            && self.readable
            && self.host_shut & SHUT_SEND == 0
            && self.guest_shut & SHUT_RECEIVE == 0
            && (self.window() > 0 || !self.asked_for_credit)
    }

    /// Whether [`Connection::next_packet`] may have something.
    pub(super) fn has_packet(&self) -> bool {
        let Due {
            request,
            response,
            reset,
            credit,
        } = self.due;
        request || response || reset || credit || self.untold_shutdown() || self.wants_data()
    }

    fn untold_shutdown(&self) -> bool {
        self.state == State::Established && self.host_shut != self.host_shut_told
    }

    /// The next packet for the guest; payload is written behind the header's place.
    pub(super) fn next_packet(&mut self, chain: &Chain, memory: &Memory) -> Option<Packet> {
        if self.due.reset {
            return Some(Packet::new(Op::Reset));
        }
        if std::mem::take(&mut self.due.request) {
            return Some(Packet::new(Op::Request));
        }
        if std::mem::take(&mut self.due.response) {
            return Some(Packet::new(Op::Response));
        }
        if self.wants_data()
            && let Some(packet) = self.data(chain, memory)
        {
            return Some(packet);
        }
        if self.untold_shutdown() {
            self.host_shut_told = self.host_shut;
            return Some(Packet {
                op: Op::Shutdown,
                flags: self.host_shut,
                len: 0,
            });
        }
        self.due.credit.then_some(Packet::new(Op::CreditUpdate))
    }

    /// Data from the socket, or the question for room.
    fn data(&mut self, chain: &Chain, memory: &Memory) -> Option<Packet> {
        let window = self.window() as usize;
        if window == 0 {
            self.asked_for_credit = true;
            return Some(Packet::new(Op::CreditRequest));
        }
        let room = (chain.writable().len() - HEADER)
            .min(window)
            .min(MAX_PAYLOAD);
        match sys::receive(
            self.stream.as_fd(),
            &chain.writable().slices(memory, HEADER, room),
        ) {
            Ok(0) => {
                self.readable = false;
                self.host_shut |= if self.hung_up { SHUT_BOTH } else { SHUT_SEND };
                None
            }
            Ok(len) => {
                self.sent = self.sent.wrapping_add(len as u32);
                Some(Packet {
                    op: Op::Data,
                    flags: 0,
                    len,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                None
            }
            // The other side went away with our data unread: nothing comes any more.
            Err(_) => {
                self.readable = false;
                self.host_shut = SHUT_BOTH;
                None
            }
        }
    }

    /// Whether it is over once the packet that was just made is on its way.
    pub(super) fn ends_with(packet: Packet) -> bool {
        packet.op == Op::Reset
    }
}

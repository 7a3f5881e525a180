//! The way from the guest to the host's socket: data that the socket does not take
//! at once waits, within the credit that the guest was given.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::{BUFFER, Connection, State};
use crate::memory::Memory;
use crate::sys;
use crate::virtio::queue::Buffer;
use crate::virtio::vsock::packet::{HEADER, Header, Op, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND};

impl Connection {
    /// The socket can be read (or has ended), written, or hung up.
    pub(in super::super) fn socket_event(&mut self, readable: bool, writable: bool, hung_up: bool) {
        self.readable |= readable;
        if hung_up {
            self.hung_up = true;
            self.readable |= self.host_shut & SHUT_SEND == 0;
            self.host_shut |= if self.host_shut & SHUT_SEND != 0 {
                SHUT_RECEIVE
            } else {
                0
            };
        }
        if writable {
            self.forward_waiting();
        }
    }

    fn forward_waiting(&mut self) {
        while !self.waiting.is_empty() {
            let (head, _) = self.waiting.as_slices();
            match send(
                &self.stream,
                head,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(count) => {
                    self.waiting.drain(..count);
                    self.count_forwarded(count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => self.stop_receiving(),
            }
        }
        self.after_delivery();
    }

    /// The host takes no more data; what waits is dropped.
    fn stop_receiving(&mut self) {
        let dropped = self.waiting.len();
        self.waiting = VecDeque::new();
        self.count_forwarded(dropped);
        self.host_shut |= SHUT_RECEIVE;
    }

    fn count_forwarded(&mut self, count: usize) {
        self.forwarded = self.forwarded.wrapping_add(count as u32);
        // Telling at every half of the buffer keeps a busy guest sending.
        if self.forwarded.wrapping_sub(self.announced) >= BUFFER / 2 {
            self.due.credit = true;
        }
    }

    /// All that came before was delivered: passes the guest's shutdown on.
    fn after_delivery(&mut self) {
        if !self.waiting.is_empty() || self.guest_shut == 0 {
            return;
        }
        if self.guest_shut & SHUT_SEND != 0 {
            // It may be gone already.
            let _ = shutdown(&self.stream, Shutdown::Write);
        }
        if self.guest_shut == SHUT_BOTH {
            self.due.reset = true;
        }
    }

    pub(super) fn take_credit(&mut self, header: &Header) {
        self.guest_room = header.buf_alloc;
        self.guest_forwarded = header.fwd_cnt;
        if self.window() > 0 {
            self.asked_for_credit = false;
        }
    }

    /// A packet from the guest. The chain holds `header.len` bytes of payload.
    pub(in super::super) fn packet(
        &mut self,
        header: &Header,
        op: Op,
        payload: &Buffer,
        memory: &Memory,
    ) {
        self.take_credit(header);
        match (op, self.state) {
            (Op::Response, State::Requested) if !self.due.request => self.establish(),
            (Op::Data, State::Established) if self.guest_shut & SHUT_SEND == 0 => {
                self.take_data(header.len, payload, memory);
            }
            (Op::Shutdown, State::Established) => {
                self.guest_shut |= header.flags & SHUT_BOTH;
                self.after_delivery();
            }
            (Op::CreditUpdate, State::Established) => {}
            (Op::CreditRequest, State::Established) => self.due.credit = true,
            _ => self.due.reset = true,
        }
    }

    fn establish(&mut self) {
        self.state = State::Established;
        let line = format!("OK {}\n", self.ports.host);
        // A fresh socket has room for a line, unless its other side is gone.
        match send(
            &self.stream,
            line.as_bytes(),
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Ok(count) if count == line.len() => {}
            _ => self.due.reset = true,
        }
    }

    fn take_data(&mut self, len: u32, payload: &Buffer, memory: &Memory) {
        let unforwarded = self.received.wrapping_sub(self.forwarded);
        if len > BUFFER - unforwarded {
            // More than it was given credit for.
            self.due.reset = true;
            return;
        }
        self.received = self.received.wrapping_add(len);
        let len = len as usize;
        if self.host_shut & SHUT_RECEIVE != 0 {
            self.count_forwarded(len);
            return;
        }
        let mut done = 0;
        if self.waiting.is_empty() {
            done = match sys::send(self.stream.as_fd(), &payload.slices(memory, HEADER, len)) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => {
                    self.stop_receiving();
                    len
                }
            };
            self.count_forwarded(done);
        }
        if done < len {
            let mut rest = vec![0; len - done];
            payload.read(memory, HEADER + done, &mut rest);
            self.waiting.extend(rest);
        }
    }
}

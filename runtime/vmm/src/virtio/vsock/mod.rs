//! Socket device (virtio 1.2, section 5.10): many connections between ports of
//! the guest and stream sockets of the host.
//!
//! Nothing here grows without bound: the number of connections, the bytes that
//! wait per connection, and the resets that wait for the guest are limited. When a
//! limit is reached the side that caused it has to wait.

mod connection;
mod handshake;
mod host;
mod packet;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll;
use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;

use super::queue::{Chain, Virtqueue};
use super::{Broken, COMMON_FEATURES, Device, Work};
use crate::memory::Memory;
use connection::{Connection, Ports};
use handshake::Handshake;
use host::watch;
use packet::{HEADER, HOST_CID, Header, Op, STREAM};

/// Queues: to the guest, from the guest, events (unused).
const RX: usize = 0;
const TX: usize = 1;
/// Most connections, those that are still being made included.
const MAX_CONNECTIONS: usize = 256;
/// Most resets for connections that do not exist. Beyond, the guest's packets wait.
const MAX_RESETS: usize = 256;
/// First port of the host for connections that it asks for.
const FIRST_HOST_PORT: u32 = 1 << 30;
/// Number of the listening socket in the epoll instance.
const LISTENER: u64 = 0;

/// The socket device.
#[derive(Debug)]
pub(crate) struct Vsock {
    cid: u64,
    config: [u8; 8],
    epoll: OwnedFd,
    listener: Option<OwnedFd>,
    /// The listening socket may have more connections.
    listener_ready: bool,
    /// Sockets for ports that the guest may connect to, each once.
    offered: HashMap<u32, OwnedFd>,
    handshakes: HashMap<u64, Handshake>,
    connections: HashMap<u64, Connection>,
    by_ports: HashMap<Ports, u64>,
    /// Connections that have something for the guest, in turn.
    ready: VecDeque<u64>,
    resets: VecDeque<Ports>,
    /// Packets from the guest wait until resets have gone out.
    held_back: bool,
    next_id: u64,
    next_port: u32,
}

impl Vsock {
    /// A device for the guest `cid`. The listener is made non-blocking.
    pub(crate) fn new(
        cid: u32,
        listener: Option<OwnedFd>,
        offered: HashMap<u32, OwnedFd>,
    ) -> io::Result<Vsock> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        if let Some(listener) = &listener {
            rustix::io::ioctl_fionbio(listener, true)?;
            watch(&epoll, listener, LISTENER)?;
        }
        Ok(Vsock {
            cid: cid.into(),
            config: u64::from(cid).to_le_bytes(),
            epoll,
            listener,
            listener_ready: false,
            offered,
            handshakes: HashMap::new(),
            connections: HashMap::new(),
            by_ports: HashMap::new(),
            ready: VecDeque::new(),
            resets: VecDeque::new(),
            held_back: false,
            next_id: LISTENER + 1,
            next_port: FIRST_HOST_PORT,
        })
    }

    /// Readable when [`Vsock::host_events`] has something to do.
    pub(crate) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    fn insert(&mut self, id: u64, connection: Connection) {
        self.by_ports.insert(connection.ports, id);
        self.connections.insert(id, connection);
        self.list(id);
    }

    fn remove(&mut self, id: u64) {
        // Closing the socket takes it out of the epoll instance.
        if let Some(connection) = self.connections.remove(&id) {
            self.by_ports.remove(&connection.ports);
        }
        self.accept();
    }

    /// Notes that a connection may have something for the guest.
    fn list(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.listed
            && connection.has_packet()
        {
            connection.listed = true;
            self.ready.push_back(id);
        }
    }

    /// Gives the guest what waits for it, as far as it has buffers.
    pub(crate) fn deliver(
        &mut self,
        queues: &mut [Virtqueue],
        memory: &Memory,
    ) -> Result<Work, Broken> {
        if self.resets.is_empty() && self.ready.is_empty() {
            return Ok(Work::default());
        }
        queues[RX].drain(memory, |chain| {
            if chain.writable().len() <= HEADER {
                return Err(Broken::Chain("has no room for a packet"));
            }
            Ok(self.next_packet(chain, memory))
        })
    }

    /// Writes the next packet into the chain; its length.
    fn next_packet(&mut self, chain: &Chain, memory: &Memory) -> Option<usize> {
        if let Some(ports) = self.resets.pop_front() {
            let header = self.header(ports, Op::Reset, 0);
            return Some(chain.writable().write(memory, 0, &header.to_bytes()));
        }
        while let Some(id) = self.ready.pop_front() {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            connection.listed = false;
            let Some(packet) = connection.next_packet(chain, memory) else {
                continue;
            };
            let (buf_alloc, fwd_cnt) = connection.credit();
            let ports = connection.ports;
            let mut header = self.header(ports, packet.op, packet.len as u32);
            (header.flags, header.buf_alloc, header.fwd_cnt) = (packet.flags, buf_alloc, fwd_cnt);
            chain.writable().write(memory, 0, &header.to_bytes());
            if Connection::ends_with(packet) {
                self.remove(id);
            } else {
                self.list(id);
            }
            return Some(HEADER + packet.len);
        }
        None
    }

    fn header(&self, ports: Ports, op: Op, len: u32) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: self.cid,
            src_port: ports.host,
            dst_port: ports.guest,
            len,
            kind: STREAM,
            op: op as u16,
            ..Header::default()
        }
    }

    /// Takes packets from the guest.
    fn take(&mut self, queues: &mut [Virtqueue], memory: &Memory) -> Result<Work, Broken> {
        self.held_back = false;
        queues[TX].drain(memory, |chain| {
            if self.resets.len() >= MAX_RESETS {
                self.held_back = true;
                return Ok(None);
            }
            let mut bytes = [0; HEADER];
            if chain.readable().read(memory, 0, &mut bytes) < HEADER {
                return Err(Broken::Chain("has no room for a packet header"));
            }
            let header = Header::from_bytes(&bytes);
            if header.len as usize > chain.readable().len() - HEADER {
                return Err(Broken::Chain("is shorter than its packet"));
            }
            self.packet(&header, chain, memory);
            Ok(Some(0))
        })
    }

    /// One packet from the guest.
    fn packet(&mut self, header: &Header, chain: &Chain, memory: &Memory) {
        if header.src_cid != self.cid || header.dst_cid != HOST_CID {
            return;
        }
        let ports = Ports {
            host: header.dst_port,
            guest: header.src_port,
        };
        let op = Op::from_number(header.op);
        let known = self.by_ports.get(&ports).copied();
        match (known, op) {
            (None, Some(Op::Reset)) => {}
            (None, Some(Op::Request)) if header.kind == STREAM => self.request(ports, header),
            (Some(id), Some(Op::Reset)) => self.remove(id),
            (Some(id), Some(op)) if header.kind == STREAM => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.packet(header, op, chain.readable(), memory);
                    self.list(id);
                }
            }
            _ => self.resets.push_back(ports),
        }
    }

    /// The guest asks for a connection.
    fn request(&mut self, ports: Ports, header: &Header) {
        let id = self.new_id();
        let stream = self.offered.remove(&ports.host);
        match stream.filter(|stream| watch(&self.epoll, stream, id).is_ok()) {
            Some(stream) => self.insert(id, Connection::accepted(ports, stream, header)),
            None => self.resets.push_back(ports),
        }
    }
}

impl Device for Vsock {
    fn name(&self) -> String {
        "socket device".into()
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_VSOCK
    }

    fn features(&self) -> u64 {
        COMMON_FEATURES
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[128, 128, 16]
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, _features: u64, _queues: &[Virtqueue]) {}

    /// Ends every connection that the driver knew; those that it has not heard of
    /// wait for the next driver.
    fn reset(&mut self) {
        let known: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, one)| one.is_known())
            .map(|(id, _)| *id)
            .collect();
        known.into_iter().for_each(|id| self.remove(id));
        self.resets.clear();
        self.held_back = false;
    }

    fn process(
        &mut self,
        queue: usize,
        queues: &mut [Virtqueue],
        memory: &Memory,
    ) -> Result<Work, Broken> {
        let mut work = Work::default();
        if queue == TX {
            work = work.and(self.take(queues, memory)?);
        }
        work = work.and(self.deliver(queues, memory)?);
        if self.held_back && self.resets.len() < MAX_RESETS {
            work = work
                .and(self.take(queues, memory)?)
                .and(self.deliver(queues, memory)?);
        }
        Ok(work)
    }
}

#[cfg(test)]
mod tests;

//! The host's side: what epoll tells, and connections that the host asks for.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll;

use super::connection::{Connection, Ports};
use super::handshake::{Handshake, Progress};
use super::{FIRST_HOST_PORT, LISTENER, MAX_CONNECTIONS, Vsock};

impl Vsock {
    /// Takes note of what happened to the host's sockets. [`Vsock::deliver`] then
    /// tells the guest.
    pub(crate) fn host_events(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        let now = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&now),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            let (id, flags) = (event.data.u64(), event.flags);
            if id == LISTENER {
                self.listener_ready = true;
            } else if self.handshakes.contains_key(&id) {
                self.advance(id);
            } else if let Some(connection) = self.connections.get_mut(&id) {
                let end = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
                connection.socket_event(
                    flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | end),
                    flags.intersects(epoll::EventFlags::OUT | end),
                    flags.intersects(end),
                );
                self.list(id);
            }
        }
        self.accept();
        Ok(())
    }

    /// Accepts connections while there is room for them.
    pub(super) fn accept(&mut self) {
        while self.listener_ready
            && self.connections.len() + self.handshakes.len() < MAX_CONNECTIONS
        {
            let Some(listener) = &self.listener else {
                return;
            };
            match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
                Ok(stream) => {
                    let id = self.new_id();
                    if watch(&self.epoll, &stream, id).is_ok() {
                        self.handshakes.insert(id, Handshake::new(stream));
                        self.advance(id);
                    }
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                // Out of descriptors counts as "no more for now": the next
                // connection tries again.
                Err(_) => self.listener_ready = false,
            }
        }
    }

    pub(super) fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Reads more of the first line of a new connection.
    fn advance(&mut self, id: u64) {
        let Some(handshake) = self.handshakes.get_mut(&id) else {
            return;
        };
        match handshake.advance() {
            Progress::Waiting => {}
            Progress::Failed => drop(self.handshakes.remove(&id)),
            Progress::Connect(guest) => {
                let host = self.free_port(guest);
                if let Some(handshake) = self.handshakes.remove(&id) {
                    let connection =
                        Connection::requested(Ports { host, guest }, handshake.into_stream());
                    self.insert(id, connection);
                }
            }
        }
    }

    /// A port of the host that is not in use towards this port of the guest. There
    /// are far more ports than connections.
    fn free_port(&mut self, guest: u32) -> u32 {
        loop {
            let host = self.next_port;
            self.next_port = if host == u32::MAX - 1 {
                FIRST_HOST_PORT
            } else {
                host + 1
            };
            if !self.by_ports.contains_key(&Ports { host, guest })
                && !self.offered.contains_key(&host)
            {
                return host;
            }
        }
    }
}

/// Watches a socket for everything, edge triggered.
pub(super) fn watch(epoll: &OwnedFd, socket: &OwnedFd, id: u64) -> io::Result<()> {
    let flags = epoll::EventFlags::IN
        | epoll::EventFlags::OUT
        | epoll::EventFlags::RDHUP
        | epoll::EventFlags::ET;
    Ok(epoll::add(
        epoll,
        socket,
        epoll::EventData::new_u64(id),
        flags,
    )?)
}

//! Connections of commands to the supervisor, and which process's streams each
//! of their channels follows.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use isola_init::stream::{Conn, Peer, PollSet};
use isola_proto::{Event, Failure, Frame, Kind};

/// Bytes that may wait for one client before its processes have to wait, too.
const BACKLOG: usize = 256 * 1024;
/// Connections at once; more are refused, so that nobody can exhaust memory.
const MAX_CLIENTS: usize = 256;

/// A connection, by number.
pub(crate) type ClientId = u32;

/// Where an answer goes: a channel of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The connection.
    pub(crate) client: ClientId,
    /// The client's own number for the channel.
    pub(crate) channel: u32,
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next: ClientId,
    conns: BTreeMap<ClientId, Conn>,
}

impl Clients {
    /// Takes a new connection; one too many is dropped.
    pub(crate) fn add(&mut self, socket: OwnedFd) {
        if self.conns.len() < MAX_CLIENTS
            && let Ok(conn) = Conn::new(socket)
        {
            self.next += 1;
            self.conns.insert(self.next, conn);
        }
    }

    /// Whether nobody is connected.
    pub(crate) fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Adds the connections to the next poll.
    pub(crate) fn register(&self, set: &mut PollSet) {
        self.conns.values().for_each(|conn| conn.register(set));
    }

    /// Moves bytes and returns the frames that came.
    pub(crate) fn dispatch(&mut self, set: &PollSet) -> Vec<(ClientId, Frame)> {
        let mut frames = Vec::new();
        for (id, conn) in &mut self.conns {
            // A failing connection shows as closed.
            let _ = conn.dispatch(set);
            while let Some(frame) = conn.next_frame() {
                frames.push((*id, frame));
            }
        }
        frames
    }

    /// Drops connections that have ended and returns their numbers.
    pub(crate) fn reap(&mut self) -> Vec<ClientId> {
        let gone: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.closed().is_some())
            .map(|(id, _)| *id)
            .collect();
        gone.iter().for_each(|id| drop(self.conns.remove(id)));
        gone
    }

    /// Queues a frame of data or credit for a channel.
    pub(crate) fn send(&mut self, to: Address, kind: Kind, payload: Vec<u8>) {
        if let Some(conn) = self.conns.get_mut(&to.client) {
            conn.send(Frame::data(kind, to.channel, payload));
        }
    }

    /// Queues an event.
    pub(crate) fn event(&mut self, to: ClientId, event: &Event) {
        if let Some(conn) = self.conns.get_mut(&to) {
            conn.send(Frame::message(Kind::Event, event));
        }
    }

    /// Tells that a request failed.
    pub(crate) fn fail(&mut self, to: Address, failure: Failure) {
        self.event(
            to.client,
            &Event::Failed {
                channel: to.channel,
                id: 0,
                failure,
            },
        );
    }

    /// Tells that a request was carried out.
    pub(crate) fn done(&mut self, to: Address) {
        self.event(to.client, &Event::Done { id: to.channel });
    }

    /// Whether a client takes what it is sent.
    pub(crate) fn keeps_up(&self, client: ClientId) -> bool {
        self.conns
            .get(&client)
            .is_none_or(|conn| conn.backlog() < BACKLOG)
    }

    /// Pushes out what is queued, for at most `patience`.
    pub(crate) fn flush(&mut self, patience: Duration) {
        let until = std::time::Instant::now() + patience;
        let mut set = PollSet::default();
        loop {
            set.clear();
            let waiting = self
                .conns
                .values()
                .filter(|conn| conn.backlog() > 0 && conn.closed().is_none());
            let count = waiting.map(|conn| conn.register(&mut set)).count();
            let left = until.saturating_duration_since(std::time::Instant::now());
            if count == 0 || left.is_zero() || set.wait(Some(left)).is_err() {
                return;
            }
            drop(self.dispatch(&set));
            self.reap();
        }
    }
}

//! Connections that are passed on as frames: the same on both sides of the wall.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use isola_proto::relay::PIECE;
use isola_proto::{Frame, Kind};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::PollSet;

/// One connection's socket on this side.
#[derive(Debug)]
struct End {
    socket: OwnedFd,
    /// Bytes that came for it and that it has not taken yet.
    out: Vec<u8>,
    /// It sends nothing more.
    heard: bool,
    /// It gets nothing more.
    told: bool,
    /// Its writing side was shut after the last byte.
    shut: bool,
}

/// Open connections by number.
#[derive(Debug)]
pub struct Relay {
    /// What frames of this side are.
    kind: Kind,
    ends: BTreeMap<u32, End>,
}

impl Relay {
    /// None yet. `kind` is what frames of this side are: `Stdout` behind the wall,
    /// `Stdin` in front of it.
    pub fn new(kind: Kind) -> Relay {
        Relay {
            kind,
            ends: BTreeMap::new(),
        }
    }

    /// A connection.
    ///
    /// # Errors
    /// O_NONBLOCK can't be set.
    pub fn add(&mut self, number: u32, socket: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let end = End {
            socket,
            out: Vec::new(),
            heard: false,
            told: false,
            shut: false,
        };
        self.ends.insert(number, end);
        Ok(())
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// None is open.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes that sockets of this side have not taken yet.
    pub fn backlog(&self) -> usize {
        self.ends.values().map(|end| end.out.len()).sum()
    }

    /// The frame that tells of an end on this side.
    pub fn end(&self, number: u32) -> Frame {
        Frame::data(self.kind, number, Vec::new())
    }

    /// Bytes for a connection. Of one that is closed here they are thrown away.
    pub fn take(&mut self, frame: &Frame) {
        let Some(end) = self.ends.get_mut(&frame.channel) else {
            return;
        };
        match frame.payload.is_empty() {
            true => end.told = true,
            false if !end.told => end.out.extend_from_slice(&frame.payload),
            false => {}
        }
    }

    /// Adds what is of interest. Sockets are read only if `read`: else nobody would take
    /// what they say.
    pub fn register(&self, set: &mut PollSet, read: bool) {
        for end in self.ends.values() {
            let (read, write) = (read && !end.heard, !end.out.is_empty());
            if read || write {
                set.add(end.socket.as_fd(), read, write);
            }
        }
    }

    /// Writes what waits, and returns what sockets that are ready have said, at most
    /// `room` bytes of it.
    pub fn dispatch(&mut self, set: &PollSet, mut room: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (number, end) in &mut self.ends {
            end.flush();
            if !end.heard
                && room > 0
                && set.readable(end.socket.as_fd())
                && let Some(bytes) = end.read(room.min(PIECE))
            {
                room -= bytes.len();
                frames.push(Frame::data(self.kind, *number, bytes));
            }
        }
        self.ends.retain(|_, end| !(end.heard && end.shut));
        frames
    }
}

impl End {
    fn flush(&mut self) {
        while !self.out.is_empty() {
            match send(&self.socket, &self.out, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    // It takes nothing more; what it said may still be read.
                    self.out.clear();
                    self.told = true;
                }
            }
        }
        if self.told && !self.shut {
            let _ = shutdown(&self.socket, Shutdown::Write);
            self.shut = true;
        }
    }

    /// What the socket says, nothing at its end; `None` when there is nothing now.
    fn read(&mut self, most: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(most);
        match rustix::io::read(&self.socket, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(0) => self.heard = true,
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(_) => {
                bytes.clear();
                self.heard = true;
                self.told = true;
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    fn turn(relay: &mut Relay, room: usize) -> Vec<Frame> {
        let mut set = PollSet::default();
        relay.register(&mut set, room > 0);
        set.wait(Some(Duration::from_millis(10))).unwrap();
        relay.dispatch(&set, room)
    }

    #[test]
    fn bytes_and_ends_go_both_ways() {
        let mut relay = Relay::new(Kind::Stdout);
        let (here, mut there) = UnixStream::pair().unwrap();
        relay.add(7, here.into()).unwrap();
        there.write_all(b"question").unwrap();
        assert_eq!(turn(&mut relay, 0), vec![]);
        let first = turn(&mut relay, 5);
        assert_eq!(first, vec![Frame::data(Kind::Stdout, 7, b"quest".to_vec())]);
        let rest = turn(&mut relay, 100);
        assert_eq!(rest, vec![Frame::data(Kind::Stdout, 7, b"ion".to_vec())]);
        relay.take(&Frame::data(Kind::Stdin, 7, b"answer".to_vec()));
        assert_eq!(relay.backlog(), 6);
        assert_eq!(turn(&mut relay, 100), vec![]);
        relay.take(&Frame::data(Kind::Stdin, 7, Vec::new()));
        assert_eq!(turn(&mut relay, 100), vec![]);
        let mut text = String::new();
        there.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
        assert_eq!(relay.len(), 1, "it may still speak");
        there.shutdown(Shutdown::Write).unwrap();
        assert_eq!(turn(&mut relay, 100), vec![relay.end(7)]);
        assert!(relay.is_empty());
        relay.take(&Frame::data(Kind::Stdin, 7, b"late".to_vec()));
        assert_eq!(relay.backlog(), 0);
    }

    #[test]
    fn one_that_is_gone_is_told_and_forgotten() {
        let mut relay = Relay::new(Kind::Stdin);
        let (here, there) = UnixStream::pair().unwrap();
        relay.add(1, here.into()).unwrap();
        drop(there);
        relay.take(&Frame::data(Kind::Stdout, 1, vec![1; 10]));
        assert_eq!(turn(&mut relay, 100), vec![relay.end(1)]);
        assert_eq!(turn(&mut relay, 100), vec![]);
        assert!(relay.is_empty());
    }
}

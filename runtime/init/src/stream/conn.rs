//! Frames over a non-blocking byte stream.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use isola_proto::frame::{HEADER, MAX_PAYLOAD};
use isola_proto::{Decoder, Frame};
use rustix::io::Errno;

use super::{Peer, PollSet};

/// Bytes asked for by one read.
const READ: usize = 32 * 1024;
/// Capacity that an empty queue keeps, in bytes.
const KEEP: usize = 64 * 1024;
const GONE: &str = "the other side closed the connection";
/// Bytes that may wait undecoded: one frame of the largest kind is always whole.
const UNREAD: usize = HEADER + MAX_PAYLOAD;

/// A stream of frames over a UNIX or vsock socket, a virtio port, or two pipes.
///
/// What came is decoded only when [`Peer::next_frame`] is called, and nothing
/// more is read while a longest frame waits: a caller that takes no frames
/// stops the sender instead of growing.
#[derive(Debug)]
pub struct Conn {
    read: OwnedFd,
    /// Where to write when it is not the descriptor that is read.
    write: Option<OwnedFd>,
    decoder: Decoder,
    out: Vec<u8>,
    /// Bytes of `out` that were written.
    sent: usize,
    /// Why writing is over while reading goes on.
    broken: Option<String>,
    closed: Option<String>,
}

impl Conn {
    /// A stream over one descriptor that is both read and written.
    ///
    /// # Errors
    /// O_NONBLOCK can't be set.
    pub fn new(fd: OwnedFd) -> io::Result<Conn> {
        Conn::over(fd, None)
    }

    /// A stream over a descriptor that is read and another that is written.
    ///
    /// # Errors
    /// O_NONBLOCK can't be set.
    pub fn pair(read: OwnedFd, write: OwnedFd) -> io::Result<Conn> {
        Conn::over(read, Some(write))
    }

    fn over(read: OwnedFd, write: Option<OwnedFd>) -> io::Result<Conn> {
        for fd in [Some(&read), write.as_ref()].into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(Conn {
            read,
            write,
            decoder: Decoder::default(),
            out: Vec::new(),
            sent: 0,
            broken: None,
            closed: None,
        })
    }

    fn write_fd(&self) -> BorrowedFd<'_> {
        self.write.as_ref().unwrap_or(&self.read).as_fd()
    }

    fn close(&mut self, why: impl Into<String>) {
        self.closed.get_or_insert(why.into());
        self.drop_queue();
    }

    fn drop_queue(&mut self) {
        self.out = Vec::new();
        self.sent = 0;
    }

    fn wants_more(&self) -> bool {
        self.closed.is_none() && self.decoder.pending() < UNREAD
    }

    /// Reads once. Returns false when there is nothing more for now.
    fn fill(&mut self) -> bool {
        let buffer = self.decoder.buffer(READ);
        match rustix::io::read(&self.read, rustix::buffer::spare_capacity(buffer)) {
            Ok(0) => self.close(GONE),
            Ok(_) | Err(Errno::INTR) => return true,
            Err(Errno::AGAIN) => {}
            Err(error) => self.close(format!("can't read: {error}")),
        }
        false
    }

    fn flush(&mut self) {
        while self.sent < self.out.len() {
            match rustix::io::write(self.write_fd(), &self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(error) => {
                    let why = match error {
                        Errno::PIPE => GONE.to_owned(),
                        error => format!("can't write: {error}"),
                    };
                    self.broken = Some(why);
                    return self.drop_queue();
                }
            }
        }
        self.out.clear();
        self.out.shrink_to(KEEP);
        self.sent = 0;
    }

    /// What the other side said before it went must be had although nothing can
    /// be written to it any more: reads to the end, then closes.
    fn read_out(&mut self, why: String) {
        while self.wants_more() {
            if !self.fill() {
                self.close(why.clone());
            }
        }
    }
}

impl Peer for Conn {
    fn send(&mut self, frame: Frame) {
        if self.closed.is_some() || self.broken.is_some() {
            return;
        }
        if self.sent > KEEP && self.sent > self.out.len() / 2 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        frame.encode(&mut self.out);
    }

    fn register(&self, set: &mut PollSet) {
        // With neither direction wanted, a hang-up would wake every wait.
        let (read, write) = (self.wants_more(), self.backlog() > 0);
        if self.write.is_none() {
            if read || write {
                set.add(self.read.as_fd(), read, write);
            }
            return;
        }
        if read {
            set.add(self.read.as_fd(), true, false);
        }
        if write {
            set.add(self.write_fd(), false, true);
        }
    }

    fn dispatch(&mut self, set: &PollSet) -> io::Result<()> {
        if self.wants_more() && set.readable(self.read.as_fd()) {
            self.fill();
        }
        if self.backlog() > 0 && set.writable(self.write_fd()) {
            self.flush();
        }
        if let Some(why) = self.broken.clone() {
            self.read_out(why);
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Option<Frame> {
        match self.decoder.next_frame() {
            Ok(frame) => frame,
            Err(error) => {
                self.close(format!("the other side sent no valid frame: {error}"));
                None
            }
        }
    }

    fn backlog(&self) -> usize {
        self.out.len() - self.sent
    }

    fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isola_proto::Kind;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn turn(conns: &mut [&mut Conn]) {
        let mut set = PollSet::default();
        conns.iter().for_each(|conn| conn.register(&mut set));
        set.wait(Some(Duration::from_millis(20))).unwrap();
        for conn in conns {
            conn.dispatch(&set).unwrap();
        }
    }

    fn two() -> (Conn, Conn) {
        let (left, right) = UnixStream::pair().unwrap();
        (
            Conn::new(left.into()).unwrap(),
            Conn::new(right.into()).unwrap(),
        )
    }

    #[test]
    fn frames_cross_whole_and_in_order() {
        let (mut left, mut right) = two();
        let sizes = [0, 1, 9, 70_000, MAX_PAYLOAD, 3];
        for (number, size) in sizes.into_iter().enumerate() {
            left.send(Frame::data(
                Kind::Stdout,
                number as u32,
                vec![number as u8; size],
            ));
        }
        let mut seen = Vec::new();
        for _ in 0..1000 {
            turn(&mut [&mut left, &mut right]);
            seen.extend(std::iter::from_fn(|| right.next_frame()));
            if seen.len() == sizes.len() {
                break;
            }
        }
        let lengths: Vec<_> = seen.iter().map(|f| (f.channel, f.payload.len())).collect();
        let expected: Vec<_> = (0..).zip(sizes).collect();
        assert_eq!(lengths, expected);
        assert_eq!(left.backlog(), 0);
        assert!(
            left.out.capacity() <= 2 * KEEP,
            "memory of a long frame stays"
        );
    }

    #[test]
    fn a_reader_that_takes_nothing_stops_the_sender() {
        let (mut left, mut right) = two();
        for _ in 0..8 {
            left.send(Frame::data(Kind::Stdout, 1, vec![0; MAX_PAYLOAD]));
        }
        for _ in 0..400 {
            turn(&mut [&mut left, &mut right]);
            if !right.wants_more() {
                break;
            }
        }
        for _ in 0..20 {
            turn(&mut [&mut left, &mut right]);
        }
        assert!(right.decoder.pending() <= UNREAD + 2 * READ);
        assert!(left.backlog() > 4 * MAX_PAYLOAD);
    }

    #[test]
    fn last_words_are_had_although_writing_fails() {
        let (mut left, mut right) = two();
        for number in 0..40 {
            left.send(Frame::data(Kind::Stdout, number, vec![0; 4000]));
        }
        left.flush();
        assert_eq!(left.backlog(), 0);
        drop(left);
        right.send(Frame::data(Kind::Stdin, 1, vec![0; 10]));
        turn(&mut [&mut right]);
        let seen = std::iter::from_fn(|| right.next_frame()).count();
        assert_eq!(seen, 40);
        assert_eq!(right.closed(), Some(GONE));
    }

    #[test]
    fn garbage_closes_the_stream() {
        let (left, right) = UnixStream::pair().unwrap();
        let mut conn = Conn::new(left.into()).unwrap();
        (&right).write_all(&[0xff; 64]).unwrap();
        turn(&mut [&mut conn]);
        assert_eq!(conn.next_frame(), None);
        assert!(conn.closed().unwrap().contains("no valid frame"));
        // It no longer takes part in the loop.
        let mut set = PollSet::default();
        conn.register(&mut set);
        set.wait(Some(Duration::ZERO)).unwrap();
        assert!(!set.readable(conn.as_fd()));
    }

    #[test]
    fn two_pipes_are_a_stream() {
        let (there_read, here_write) = std::io::pipe().unwrap();
        let (here_read, there_write) = std::io::pipe().unwrap();
        let mut here = Conn::pair(here_read.into(), here_write.into()).unwrap();
        let mut there = Conn::pair(there_read.into(), there_write.into()).unwrap();
        here.send(Frame::credit(Kind::CreditInput, 4, 99));
        turn(&mut [&mut here, &mut there]);
        turn(&mut [&mut here, &mut there]);
        assert_eq!(there.next_frame().unwrap().credited(), 99);
        drop(there);
        turn(&mut [&mut here]);
        assert!(here.closed().is_some());
    }
}

//! The line between the maker of a sandbox and its child until execve: one
//! socket pair that keeps message boundaries. The child's end closes by itself at execve.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use isola_proto::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send,
    sendmsg, socketpair,
};

use crate::error::failure;

/// Longest message in bytes.
const LIMIT: usize = 16 * 1024;

/// What the two ends tell each other.
#[derive(Debug)]
pub(crate) enum Message {
    /// Maker: maps, cgroup and limits are in place.
    Go,
    /// Child: nothing but execve is left to do.
    Ready,
    /// Child: it failed and ends.
    Failed(Failure),
    /// Child: the master of its terminal.
    Terminal(OwnedFd),
    /// Child: the small file with this number, put in place and open for writing.
    Text(u32, OwnedFd),
    /// A detached mount of another sandbox.
    Mount(OwnedFd),
    /// Go-between of a join: the process that will run the program.
    Process(i32, OwnedFd),
    /// The other end is closed.
    Closed,
}

/// One end of the line.
#[derive(Debug)]
pub(crate) struct Control(pub(crate) OwnedFd);

impl Control {
    /// Both ends: the maker's, the child's.
    pub(crate) fn pair() -> io::Result<(Control, Control)> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Control(a), Control(b)))
    }

    /// Sends one message.
    pub(crate) fn send(&self, message: &Message) -> io::Result<()> {
        match message {
            Message::Go => self.put(b"G", None),
            Message::Ready => self.put(b"R", None),
            Message::Failed(failure) => {
                let mut short = failure.clone();
                if short.message.len() > LIMIT / 4 {
                    short.message = short.message.chars().take(LIMIT / 16).collect();
                }
                let mut bytes = b"E".to_vec();
                serde_json::to_writer(&mut bytes, &short)?;
                self.put(&bytes, None)
            }
            Message::Terminal(master) => self.put(b"T", Some(master.as_fd())),
            Message::Mount(tree) => self.put(b"M", Some(tree.as_fd())),
            Message::Text(number, file) => self.put(&numbered(b'F', *number), Some(file.as_fd())),
            Message::Process(pid, pidfd) => {
                self.put(&numbered(b'P', pid.cast_unsigned()), Some(pidfd.as_fd()))
            }
            Message::Closed => Ok(()),
        }
    }

    fn put(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        } else if retry(|| send(&self.0, bytes, SendFlags::NOSIGNAL)).is_ok() {
            return Ok(());
        } else {
            // The workload's filter is in force and denies sockets.
            retry(|| rustix::io::write(&self.0, bytes))?;
            return Ok(());
        }
        retry(|| {
            sendmsg(
                &self.0,
                &[IoSlice::new(bytes)],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            )
        })?;
        Ok(())
    }

    /// Waits for the next message.
    pub(crate) fn receive(&self) -> io::Result<Message> {
        let mut bytes = vec![0; LIMIT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = retry(|| {
            recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        });
        let got = match got {
            Ok(got) => got,
            // The other end was closed with something unread in it.
            Err(rustix::io::Errno::CONNRESET) => return Ok(Message::Closed),
            Err(error) => return Err(error.into()),
        };
        let fd = ancillary.drain().find_map(|m| {
            if let RecvAncillaryMessage::ScmRights(mut fds) = m {
                fds.next()
            } else {
                None
            }
        });
        if got.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match (bytes[..got.bytes].split_first(), fd) {
            (None, _) => Ok(Message::Closed),
            (Some((b'G', _)), _) => Ok(Message::Go),
            (Some((b'R', _)), _) => Ok(Message::Ready),
            (Some((b'E', rest)), _) => Ok(Message::Failed(
                serde_json::from_slice(rest)
                    .unwrap_or_else(|_| failure("the child failed without a reason")),
            )),
            (Some((b'T', _)), Some(fd)) => Ok(Message::Terminal(fd)),
            (Some((b'M', _)), Some(fd)) => Ok(Message::Mount(fd)),
            (Some((kind @ (b'F' | b'P'), rest)), Some(fd)) if rest.len() == 4 => {
                let number = [rest[0], rest[1], rest[2], rest[3]];
                Ok(match kind {
                    b'F' => Message::Text(u32::from_le_bytes(number), fd),
                    _ => Message::Process(i32::from_le_bytes(number), fd),
                })
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Whether the maker is still there. A parent that ended before
    /// PR_SET_PDEATHSIG was set sends no signal any more, but its end is closed.
    pub(crate) fn other_end_is_open(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        match poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        ) {
            Ok(_) => !fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR),
            Err(_) => true,
        }
    }
}

fn numbered(kind: u8, number: u32) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_cross() {
        let (a, b) = Control::pair().unwrap();
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        b.send(&Message::Process(42, file.try_clone().unwrap().into()))
            .unwrap();
        b.send(&Message::Text(7, file.into())).unwrap();
        b.send(&Message::Failed(failure("x".repeat(100_000))))
            .unwrap();
        assert!(matches!(a.receive().unwrap(), Message::Process(42, _)));
        assert!(matches!(a.receive().unwrap(), Message::Text(7, _)));
        assert!(matches!(a.receive().unwrap(), Message::Failed(f) if f.message.len() < LIMIT));
        assert!(a.other_end_is_open());
        drop(b);
        assert!(!a.other_end_is_open());
        assert!(matches!(a.receive().unwrap(), Message::Closed));
    }
}

//! Parts of an attached session: output that never blocks the loop, signals as
//! a descriptor, and the keys that leave.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Code, Failure, Result};

/// Keys that leave a session when nothing else is said.
pub(crate) const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// A stream that is ready has room for this much at least (PIPE_BUF); more could
/// block.
const SMALL: usize = 4096;
const LARGE: usize = 64 * 1024;

/// Standard output or error with a queue in front.
#[derive(Debug)]
pub(crate) struct Output {
    stream: Stream,
    /// The same pipe, opened once more so that it can be non-blocking without
    /// becoming so for everybody who shares it.
    pipe: Option<OwnedFd>,
    queue: VecDeque<u8>,
    /// Bytes thrown away, to be granted like written ones.
    dropped: u32,
    /// Bytes for one write.
    piece: usize,
    wanted: bool,
}

#[derive(Debug)]
enum Stream {
    Out(io::Stdout),
    Err(io::Stderr),
}

impl From<io::Stdout> for Stream {
    fn from(stream: io::Stdout) -> Stream {
        Stream::Out(stream)
    }
}

impl From<io::Stderr> for Stream {
    fn from(stream: io::Stderr) -> Stream {
        Stream::Err(stream)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Out(stream) => stream.as_fd(),
            Stream::Err(stream) => stream.as_fd(),
        }
    }
}

impl Output {
    /// A stream; with `wanted` false everything is thrown away.
    #[allow(private_bounds)]
    pub(crate) fn new(stream: impl Into<Stream>, wanted: bool) -> Output {
        let stream = stream.into();
        let kind = rustix::fs::fstat(&stream).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let pipe = matches!(kind, Ok(FileType::Fifo))
            .then(|| reopen(&stream))
            .flatten();
        let piece = match kind {
            Ok(FileType::RegularFile) => LARGE,
            _ if pipe.is_some() => LARGE,
            _ => SMALL,
        };
        Output {
            stream,
            pipe,
            queue: VecDeque::new(),
            dropped: 0,
            piece,
            wanted,
        }
    }

    /// Queues bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self.wanted {
            true => self.queue.extend(bytes),
            false => self.dropped += u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        }
    }

    /// There is something to write or to grant.
    pub(crate) fn pending(&self) -> bool {
        !self.queue.is_empty() || self.dropped > 0
    }

    /// Writes once, when the descriptor is ready. Returns the bytes that are
    /// done with.
    pub(crate) fn write(&mut self) -> Result<u32> {
        let dropped = std::mem::take(&mut self.dropped);
        let (bytes, _) = self.queue.as_slices();
        let bytes = &bytes[..bytes.len().min(self.piece)];
        if bytes.is_empty() {
            return Ok(dropped);
        }
        match rustix::io::write(&*self, bytes) {
            Ok(count) => {
                self.queue.drain(..count);
                Ok(dropped + u32::try_from(count).unwrap_or(u32::MAX))
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(dropped),
            Err(error) => Err(Failure::output(error.into())),
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe
            .as_ref()
            .map_or_else(|| self.stream.as_fd(), AsFd::as_fd)
    }
}

fn reopen(stream: &Stream) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

/// Signals that a session handles, as a descriptor; they do not interrupt it.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Catches a new terminal size, and what is to be passed on or must not end
    /// this process before the terminal is itself again.
    pub(crate) fn catch(proxy: bool, tty: bool) -> Result<Signals> {
        let mut set = SigSet::empty();
        if tty {
            set.add(Signal::SIGWINCH);
        }
        if tty || proxy {
            let ending = [
                Signal::SIGHUP,
                Signal::SIGINT,
                Signal::SIGQUIT,
                Signal::SIGTERM,
            ];
            set.extend(ending);
        }
        if proxy && !tty {
            set.extend([
                Signal::SIGUSR1,
                Signal::SIGUSR2,
                Signal::SIGALRM,
                Signal::SIGCONT,
            ]);
        }
        let refused = |error: nix::Error| Failure::system("catch signals", error);
        let before = SigSet::thread_get_mask().map_err(refused)?;
        set.thread_block().map_err(refused)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let fd = SignalFd::with_flags(&set, flags).map_err(refused)?;
        Ok(Signals { fd, before })
    }

    /// The next signal that came.
    pub(crate) fn next(&self) -> Option<Signal> {
        let info = self.fd.read_signal().ok().flatten()?;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // What came and was not read is dropped: the session is over. Unless it is part of
        // another one, which had caught the same before and gets it now.
        if !self.before.contains(Signal::SIGINT) {
            while self.next().is_some() {}
        }
        let _ = self.before.thread_set_mask();
    }
}

/// A sequence of keys that leaves a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    keys: Vec<u8>,
    /// How many of them were typed and are held back.
    matched: usize,
}

impl Keys {
    /// Reads `ctrl-p,ctrl-q`: letters, or `ctrl-` and one of `a-z @ [ \ ] ^ _`.
    /// Nothing means no keys.
    pub(crate) fn parse(text: &str) -> Result<Keys> {
        let mut keys = Vec::new();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let key = match word.strip_prefix("ctrl-") {
                Some(rest) => match rest.as_bytes() {
                    [c @ b'a'..=b'z'] => Some(c - b'a' + 1),
                    [c @ (b'@' | b'['..=b'_')] => Some(c - b'@'),
                    _ => None,
                },
                None => match word.as_bytes() {
                    [c] if c.is_ascii() => Some(*c),
                    _ => None,
                },
            };
            let key = key.ok_or_else(|| {
                Failure::new(
                    Code::Invalid,
                    format!("--detach-keys: {word:?} is not a key"),
                )
                .hint("a letter, or ctrl- and one of a-z @ [ \\ ] ^ _; several with commas")
            })?;
            keys.push(key);
        }
        Ok(Keys { keys, matched: 0 })
    }

    /// Takes the keys out of what was typed; true when they are complete. Half
    /// of them are held back, and come out when something else follows.
    pub(crate) fn pass(&mut self, bytes: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        let mut out = Vec::with_capacity(bytes.len() + self.matched);
        let typed = std::mem::take(bytes);
        for byte in typed {
            if byte != self.keys[self.matched] {
                out.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    *bytes = out;
                    return true;
                }
            } else {
                out.push(byte);
            }
        }
        *bytes = out;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_read() {
        for (text, keys) in [
            ("ctrl-p,ctrl-q", vec![16, 17]),
            ("ctrl-@", vec![0]),
            ("ctrl-\\", vec![28]),
            ("a,b", vec![b'a', b'b']),
            ("", vec![]),
        ] {
            assert_eq!(Keys::parse(text).unwrap().keys, keys, "{text}");
        }
        for text in ["ctrl-", "ctrl-pp", "ab", "ctrl-1", "a,,b", "é"] {
            assert!(Keys::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_leave_and_halves_come_out_again() {
        let typed = |pieces: &[&[u8]]| {
            let mut keys = Keys::parse("ctrl-p,ctrl-q").unwrap();
            let mut out = Vec::new();
            for piece in pieces {
                let mut bytes = piece.to_vec();
                let left = keys.pass(&mut bytes);
                out.extend(bytes);
                if left {
                    return (out, true);
                }
            }
            (out, false)
        };
        assert_eq!(typed(&[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&[b"\x10", b"\x11"]), (vec![], true));
        assert_eq!(typed(&[b"\x10", b"x"]), (b"\x10x".to_vec(), false));
        assert_eq!(typed(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed(&[b"\x10"]), (vec![], false));
        let mut none = Keys::parse("").unwrap();
        assert!(!none.pass(&mut b"\x10\x11".to_vec()));
    }
}

//! One direction of one process: bytes to its input, bytes from an output.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use isola_proto::Kind;
use isola_proto::frame::WINDOW;
use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex};

/// Bytes of input after whose writing new credit is worth a frame.
const CREDIT_STEP: u32 = WINDOW / 4;
/// No more than this is read from a terminal after its process has ended, in
/// bytes: over what the kernel keeps for one, so that it is emptied, but a
/// writer that was left behind can't hold up the exit.
const TERMINAL_REST: usize = 128 * 1024;

/// More input came than there was credit for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overrun;

/// The standard input of a process.
#[derive(Debug)]
pub(super) struct Input {
    /// Absent when the process has no input or closed it.
    fd: Option<Arc<OwnedFd>>,
    queue: VecDeque<u8>,
    /// Nothing comes after the queue.
    end: bool,
    terminal: bool,
    /// Bytes taken for which no credit was given yet.
    taken: u32,
}

impl Input {
    fn over(fd: Option<Arc<OwnedFd>>, terminal: bool) -> Input {
        Input {
            fd,
            queue: VecDeque::new(),
            end: false,
            terminal,
            taken: 0,
        }
    }

    pub(super) fn pipe(fd: OwnedFd) -> Input {
        Input::over(Some(Arc::new(fd)), false)
    }

    pub(super) fn terminal(fd: Arc<OwnedFd>) -> Input {
        Input::over(Some(fd), true)
    }

    /// Input that goes nowhere.
    pub(super) fn none() -> Input {
        Input::over(None, false)
    }

    /// The descriptor, while there is something to write.
    pub(super) fn wanted(&self) -> Option<BorrowedFd<'_>> {
        let busy = !self.queue.is_empty() || self.end;
        self.fd.as_ref().filter(|_| busy).map(|fd| fd.as_fd())
    }

    /// Takes bytes from the asking side; none means the end.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Overrun> {
        let under_way = self.queue.len() + self.taken as usize + bytes.len();
        if under_way > WINDOW as usize {
            return Err(Overrun);
        }
        if self.fd.is_none() || self.end {
            self.taken += bytes.len() as u32;
            return Ok(());
        }
        self.queue.extend(bytes);
        self.end |= bytes.is_empty();
        Ok(())
    }

    /// Writes what can be written.
    pub(super) fn flush(&mut self) {
        while let (Some(fd), (bytes, _)) = (&self.fd, self.queue.as_slices()) {
            if bytes.is_empty() {
                break;
            }
            match rustix::io::write(fd, bytes) {
                Ok(count) => {
                    self.queue.drain(..count);
                    self.taken += count as u32;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.close(),
            }
        }
        self.queue.shrink_to(4096);
        if self.end {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(fd) = self.fd.as_ref().filter(|_| self.terminal) {
            // A terminal can't be closed in one direction. In line mode its end
            // of file character says the same.
            if let Ok(modes) = rustix::termios::tcgetattr(fd)
                && modes.local_modes.contains(LocalModes::ICANON)
            {
                let byte = modes.special_codes[SpecialCodeIndex::VEOF];
                if rustix::io::write(fd, &[byte]) == Err(Errno::AGAIN) {
                    return;
                }
            }
        }
        self.close();
    }

    /// Gives up on the input: what is queued and what will come counts as taken.
    pub(super) fn close(&mut self) {
        self.taken += self.queue.len() as u32;
        self.queue = VecDeque::new();
        self.fd = None;
    }

    /// Credit that is due to the asking side.
    pub(super) fn credit(&mut self) -> Option<u32> {
        let due = self.taken > 0 && (self.queue.is_empty() || self.taken >= CREDIT_STEP);
        due.then(|| std::mem::take(&mut self.taken))
    }
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// Nothing for now.
    Blocked,
    /// The end, for the first time.
    End,
}

/// Standard output, standard error, or what a terminal shows.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) kind: Kind,
    fd: Option<Arc<OwnedFd>>,
    terminal: bool,
    /// Bytes that are still awaited after the process has ended.
    rest: Option<usize>,
}

impl Output {
    pub(super) fn new(kind: Kind, fd: OwnedFd) -> Output {
        Output {
            kind,
            fd: Some(Arc::new(fd)),
            terminal: false,
            rest: None,
        }
    }

    pub(super) fn terminal(fd: Arc<OwnedFd>) -> Output {
        Output {
            kind: Kind::Stdout,
            fd: Some(fd),
            terminal: true,
            rest: None,
        }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(|fd| fd.as_fd())
    }

    /// The process has ended: what it wrote is there now, and only that is still
    /// awaited.
    pub(super) fn process_ended(&mut self) {
        let written = self.fd.as_ref().map_or(0, |fd| match self.terminal {
            true => TERMINAL_REST,
            false => rustix::io::ioctl_fionread(fd).map_or(0, |count| count as usize),
        });
        self.rest = Some(written);
    }

    /// Nothing more is to be read for the asking side.
    pub(super) fn is_done(&self) -> bool {
        self.fd.is_none() || self.rest == Some(0)
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let Some(fd) = self.fd.as_ref().filter(|_| !self.is_done()) else {
            return Read::Blocked;
        };
        let room = buffer.len().min(self.rest.unwrap_or(usize::MAX));
        match rustix::io::read(fd, &mut buffer[..room]) {
            Ok(count @ 1..) => {
                self.rest = self.rest.map(|rest| rest - count);
                Read::Bytes(count)
            }
            Err(Errno::INTR) => Read::Blocked,
            Err(Errno::AGAIN) => {
                self.rest = self.rest.map(|_| 0);
                Read::Blocked
            }
            // A terminal whose last slave side was closed gives EIO.
            Ok(0) | Err(_) => {
                self.fd = None;
                Read::End
            }
        }
    }

    /// The pipe, when others may still hold its other end: it must be emptied
    /// further or they would block or get SIGPIPE.
    pub(super) fn into_late(self) -> Option<Arc<OwnedFd>> {
        self.fd.filter(|_| !self.terminal)
    }
}

//! SIGTERM to a supervisor asks for the workload's graceful end; what a terminal
//! sends is not for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use isola_init::stream::PollSet;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that the loop listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks the signals and opens a descriptor for them. Whatever is started
    /// later gets an empty mask from `isola_init`.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn listen() -> io::Result<Signals> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTERM);
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGHUP);
        mask.add(Signal::SIGPIPE);
        mask.thread_block()?;
        Ok(Signals {
            fd: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
        })
    }

    /// Whether SIGTERM has come since the last call.
    pub(crate) fn pending(&mut self, set: &PollSet) -> bool {
        let mut terminate = false;
        if set.readable(self.fd.as_fd()) {
            while let Ok(Some(info)) = self.fd.read_signal() {
                terminate |= i32::try_from(info.ssi_signo) == Ok(libc::SIGTERM);
            }
        }
        terminate
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

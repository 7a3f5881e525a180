//! Children that nobody else waits for: those of PID 1 in a guest, and those that are
//! left to the maker of a sandbox without a pid namespace of its own.

use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::children::{Children, bury, look_at_children};
use crate::stream::PollSet;

/// Wakes the loop when a child has ended.
#[derive(Debug)]
pub struct Orphans {
    fd: SignalFd,
    /// A child of another owner stood in front of the last look.
    again: bool,
}

impl Orphans {
    /// Blocks SIGCHLD for this thread.
    ///
    /// # Errors
    /// No descriptor is left (signalfd(2)).
    pub fn new() -> nix::Result<Orphans> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&signals, flags)?;
        Ok(Orphans { fd, again: false })
    }

    /// The same, after taking in the children of ended descendants, too
    /// (PR_SET_CHILD_SUBREAPER of prctl(2)), which would be left to the host's first
    /// process otherwise.
    ///
    /// # Errors
    /// As for [`Orphans::new`].
    pub fn adopt() -> nix::Result<Orphans> {
        nix::sys::prctl::set_child_subreaper(true)?;
        Orphans::new()
    }

    /// Adds its descriptor to the next poll.
    pub fn register(&self, set: &mut PollSet) {
        set.add(self.fd.as_fd(), true, false);
    }

    /// Buries orphans. Those that `owned` names are left to their owner, which
    /// sees their end at its own descriptor.
    pub fn reap(&mut self, set: &PollSet, owned: impl Fn(i32) -> bool) {
        if !self.again && !set.readable(self.fd.as_fd()) {
            return;
        }
        // Emptied before looking: a child that ends meanwhile wakes us again.
        while let Ok(Some(_)) = self.fd.read_signal() {}
        while let Children::Ended(pid) = look_at_children(false) {
            // A look shows the same child first until it is buried. Its owner
            // does so in the next round, and no new signal comes with that.
            self.again = owned(pid);
            if self.again {
                return;
            }
            bury(pid);
        }
        self.again = false;
    }
}

//! Children of PID 1 that nobody else waits for.

use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::sys::{Children, bury, look_at_children};
use crate::stream::PollSet;

/// Wakes the loop when a child has ended.
pub(super) struct ChildSignal {
    fd: SignalFd,
    /// A child of another owner stood in front of the last look.
    again: bool,
}

impl ChildSignal {
    pub(super) fn new() -> nix::Result<ChildSignal> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&signals, flags)?;
        Ok(ChildSignal { fd, again: false })
    }

    pub(super) fn register(&self, set: &mut PollSet) {
        set.add(self.fd.as_fd(), true, false);
    }

    /// Buries orphans. Those that `owned` names are left to their owner, which
    /// sees their end at its own descriptor.
    pub(super) fn reap(&mut self, set: &PollSet, owned: impl Fn(i32) -> bool) {
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

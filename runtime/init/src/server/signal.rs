//! Signals through a pidfd.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{WaitId, WaitIdOptions};

/// pidfd_send_signal(2). A number that is no signal, or a process that has
/// ended, is nobody's fault: nothing happens.
pub(super) fn send(pidfd: BorrowedFd<'_>, signal: i32) {
    // Signal 0 would only look; the kernel refuses numbers over 64.
    if signal <= 0 {
        return;
    }
    // SAFETY: plain integers, a live descriptor, and null for the optional
    // siginfo, which the kernel then makes up.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        );
    }
}

/// Ends a process that can't be served.
pub(super) fn kill_and_reap(pidfd: &OwnedFd) {
    send(pidfd.as_fd(), libc::SIGKILL);
    let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}

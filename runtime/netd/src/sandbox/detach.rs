//! Into the background.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::setsid;

/// Makes the process that serves, in a session of its own, without any descriptor but
/// standard error and standard input, which it returns; to the process that was
/// started it returns `None`. Must be called while there is one thread.
pub(crate) fn detach() -> io::Result<Option<OwnedFd>> {
    // SAFETY: this process has one thread, so that the child may do all that this
    // process may.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => return Ok(None),
    }
    setsid()?;
    // SAFETY: nobody in this process has opened anything yet, so that no descriptor
    // that is closed here belongs to anybody.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(Some(listener))
}

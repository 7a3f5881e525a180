//! Waiting for a child through its descriptor: no SIGCHLD, no race over numbers.

use std::io;
use std::os::fd::AsFd;

use isola_proto::ExitStatus;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// Waits until the child behind `pidfd` has ended, and takes its status up.
///
/// # Errors
/// ECHILD: it is not our child, or its status was taken up before.
pub fn wait(pidfd: impl AsFd) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = take(&pidfd, WaitIdOptions::EXITED)? {
            return Ok(status);
        }
    }
}

/// Takes the status up if the child has ended; a pidfd polls readable then.
///
/// # Errors
/// As [`wait`].
pub fn try_wait(pidfd: impl AsFd) -> io::Result<Option<ExitStatus>> {
    take(&pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

fn take(pidfd: &impl AsFd, options: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
    let status = loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    Ok(status.map(
        |status| match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal(signal),
            (None, None) => ExitStatus::Code(255),
        },
    ))
}

/// Sends a signal by number (signal(7)); a process that has ended already is no error.
///
/// # Errors
/// EINVAL: there is no such signal. EPERM.
pub fn kill(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let signal = crate::sys::signal(signal).ok_or(Errno::INVAL)?;
    match pidfd_send_signal(pidfd, signal) {
        Err(Errno::SRCH) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_do_not_exist_are_refused() {
        let me = rustix::process::pidfd_open(
            rustix::process::getpid(),
            rustix::process::PidfdFlags::empty(),
        )
        .unwrap();
        for signal in [-1, 0, 65, 4096] {
            assert_eq!(
                kill(&me, signal).unwrap_err().raw_os_error(),
                Some(libc::EINVAL)
            );
        }
    }

    #[test]
    #[allow(clippy::zombie_processes)] // it is waited for through its descriptor
    fn the_status_is_taken_up_once() {
        let child = std::process::Command::new("/bin/busybox")
            .args(["sh", "-c", "exit 7"])
            .spawn()
            .unwrap();
        let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        assert_eq!(wait(&pidfd).unwrap(), ExitStatus::Code(7));
        assert_eq!(
            try_wait(&pidfd).unwrap_err().raw_os_error(),
            Some(libc::ECHILD)
        );
    }
}

//! Looking at children without knowing them.
#![allow(unsafe_code)]

use std::io;

/// What a look at the children found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Children {
    /// There is none.
    None,
    /// All of them run.
    Run,
    /// This one has ended.
    Ended(i32),
}

/// Looks whether a child has ended (waitid(2)); `take` also buries it.
pub(crate) fn look_at_children(take: bool) -> Children {
    wait_for(libc::P_ALL, 0, take)
}

/// Buries one child that has ended.
pub(crate) fn bury(pid: i32) {
    wait_for(libc::P_PID, pid.cast_unsigned(), true);
}

fn wait_for(kind: libc::idtype_t, id: libc::id_t, take: bool) -> Children {
    let keep = if take { 0 } else { libc::WNOWAIT };
    // SAFETY: siginfo_t is plain data for which zeros are valid, and it is
    // alive during the call that fills it.
    let (found, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | keep;
        (libc::waitid(kind, id, &raw mut info, flags), info)
    };
    if found != 0 {
        return match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => Children::Run,
            _ => Children::None,
        };
    }
    // SAFETY: after success the child's id is set, or still the zero from above.
    match unsafe { info.si_pid() } {
        0 => Children::Run,
        pid => Children::Ended(pid),
    }
}

//! Descriptors: nothing but what was meant for it reaches a sandbox, neither
//! while it is put together nor at execve (CVE-2024-21626).

use std::io;
use std::os::fd::RawFd;

use isola_proto::Failure;

use crate::error::{Setup, failure};
use crate::sys;

/// Closes every descriptor that is not listed.
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    keep.sort_unstable();
    keep.dedup();
    let mut next = 0;
    for fd in keep {
        if fd > next {
            sys::close_range(next, fd - 1)?;
        }
        next = fd + 1;
    }
    sys::close_range(next, u32::MAX)
}

/// Closes one descriptor whose owner will never be dropped.
pub(crate) fn close_one(fd: RawFd) -> io::Result<()> {
    let fd = u32::try_from(fd).map_err(|_| io::ErrorKind::InvalidInput)?;
    sys::close_range(fd, fd)
}

/// Checks the numbers at which descriptors are to be inherited.
pub(crate) fn check_targets(targets: impl Iterator<Item = RawFd>) -> Result<(), Failure> {
    let mut seen = Vec::new();
    for target in targets {
        if !(3..1024).contains(&target) || seen.contains(&target) {
            return Err(failure(format!(
                "descriptor {target} can't be handed on: numbers are 3 to 1023, each once"
            )));
        }
        seen.push(target);
    }
    Ok(())
}

/// Moves descriptors to the numbers that the program expects, and closes all others
/// but `private`, which move out of the way and close at execve. Returns the new
/// numbers of `private`.
pub(crate) fn arrange(wanted: &[(RawFd, RawFd)], private: &[RawFd]) -> Result<Vec<RawFd>, Failure> {
    let what = || "arrange the descriptors".to_owned();
    let above = wanted.iter().map(|(_, to)| *to).max().unwrap_or(2) + 1;
    let moved: Vec<RawFd> = private
        .iter()
        .map(|fd| sys::dup_above(*fd, above))
        .collect::<Result<_, _>>()
        .setup(what)?;
    let sources: Vec<RawFd> = wanted
        .iter()
        .map(|(from, _)| sys::dup_above(*from, above))
        .collect::<Result<_, _>>()
        .setup(what)?;
    for (from, (_, to)) in sources.iter().zip(wanted) {
        sys::dup2(*from, *to).setup(what)?;
    }
    let keep: Vec<RawFd> = wanted
        .iter()
        .map(|(_, to)| *to)
        .chain(moved.iter().copied())
        .collect();
    close_all_but(&keep).setup(what)?;
    Ok(moved)
}

//! ppoll(2).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// A set of descriptors for one ppoll(2) call. It is filled anew before every
/// wait, so that who wants what is decided in one place, by the state of now.
#[derive(Debug, Default)]
pub struct PollSet {
    entries: Vec<libc::pollfd>,
}

impl PollSet {
    /// Forgets all descriptors.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a descriptor. With neither `read` nor `write` it still wakes the
    /// wait on a hang-up or an error, as poll(2) has it.
    pub fn add(&mut self, fd: BorrowedFd<'_>, read: bool, write: bool) {
        let mut events = 0;
        if read {
            events |= libc::POLLIN;
        }
        if write {
            events |= libc::POLLOUT;
        }
        self.entries.push(libc::pollfd {
            fd: fd.as_raw_fd(),
            events,
            revents: 0,
        });
    }

    /// Waits until something is ready or `timeout` is over. A signal ends the
    /// wait early, with nothing ready.
    ///
    /// # Errors
    /// Those of ppoll(2) but EINTR.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.entries.sort_unstable_by_key(|entry| entry.fd);
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the entries are a live array of the length given, the timeout
        // is null or lives in this frame, and no signal mask is passed.
        let ready = unsafe {
            libc::ppoll(
                self.entries.as_mut_ptr(),
                self.entries.len() as libc::nfds_t,
                timeout,
                std::ptr::null(),
            )
        };
        if ready < 0 {
            let error = io::Error::last_os_error();
            self.entries.iter_mut().for_each(|entry| entry.revents = 0);
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(())
    }

    fn revents(&self, fd: BorrowedFd<'_>) -> libc::c_short {
        let fd = fd.as_raw_fd();
        let first = self.entries.partition_point(|entry| entry.fd < fd);
        let same = self.entries[first..].iter().take_while(|e| e.fd == fd);
        same.fold(0, |all, entry| all | entry.revents)
    }

    /// A read would not block: there are bytes, an end of file or an error.
    pub fn readable(&self, fd: BorrowedFd<'_>) -> bool {
        self.revents(fd) & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// A write would not block, or would fail at once.
    pub fn writable(&self, fd: BorrowedFd<'_>) -> bool {
        self.revents(fd) & (libc::POLLOUT | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// The other side is gone.
    pub fn hangup(&self, fd: BorrowedFd<'_>) -> bool {
        self.revents(fd) & (libc::POLLHUP | libc::POLLERR) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn tells_who_is_ready() {
        let (quiet, _keep) = io::pipe().unwrap();
        let (loud, mut writer) = io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let mut set = PollSet::default();
        set.add(loud.as_fd(), true, false);
        set.add(quiet.as_fd(), true, false);
        set.add(writer.as_fd(), false, true);
        set.wait(Some(Duration::from_secs(5))).unwrap();
        assert!(set.readable(loud.as_fd()) && !set.hangup(loud.as_fd()));
        assert!(!set.readable(quiet.as_fd()));
        assert!(set.writable(writer.as_fd()));
        let (never_added, _keep) = io::pipe().unwrap();
        assert!(!set.readable(never_added.as_fd()));
    }

    #[test]
    fn a_hangup_is_readable() {
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        let mut set = PollSet::default();
        set.add(reader.as_fd(), false, false);
        set.wait(None).unwrap();
        assert!(set.readable(reader.as_fd()) && set.hangup(reader.as_fd()));
    }

    #[test]
    fn the_timeout_ends_the_wait() {
        let (reader, _writer) = io::pipe().unwrap();
        let mut set = PollSet::default();
        set.add(reader.as_fd(), true, false);
        let start = std::time::Instant::now();
        set.wait(Some(Duration::from_millis(20))).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert!(!set.readable(reader.as_fd()));
    }
}

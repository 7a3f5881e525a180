//! The system calls that have no safe wrapper: guest memory without a copy,
//! identities of threads, locks of open files, folders as bytes, signals.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use vm_memory::VolatileSlice;

/// Most vectors of one call (UIO_MAXIOV).
const MAX_VECTORS: usize = 1024;
/// Wakes threads that wait for a lock.
const WAKE: libc::c_int = libc::SIGUSR1;

/// The last call's error.
fn last() -> Errno {
    let code = std::io::Error::last_os_error().raw_os_error();
    Errno::from_raw_os_error(code.unwrap_or(libc::EIO))
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 { Err(last()) } else { Ok(()) }
}

/// Takes over a descriptor that the parent left open. The caller must call this
/// once per number: it becomes the owner.
pub(crate) fn take_fd(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD touches no memory; a number that is no descriptor gives EBADF.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: the descriptor is open and, as callers take each number once, nobody
    // else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads at `offset` into memory; short at the end of the file.
pub(crate) fn read_at(
    fd: BorrowedFd<'_>,
    slices: &[VolatileSlice<'_>],
    offset: i64,
) -> Result<usize, Errno> {
    transfer(slices, |vectors, count| {
        // SAFETY: `transfer` gives vectors of live memory.
        unsafe { libc::preadv(fd.as_raw_fd(), vectors, count, offset) }
    })
}

/// Writes memory at `offset`; may be short.
pub(crate) fn write_at(
    fd: BorrowedFd<'_>,
    slices: &[VolatileSlice<'_>],
    offset: i64,
) -> Result<usize, Errno> {
    transfer(slices, |vectors, count| {
        // SAFETY: as in `read_at`.
        unsafe { libc::pwritev(fd.as_raw_fd(), vectors, count, offset) }
    })
}

/// The kernel copies; the guest may change the memory meanwhile, which is why no
/// Rust reference to it exists.
fn transfer(
    slices: &[VolatileSlice<'_>],
    call: impl Fn(*const libc::iovec, libc::c_int) -> isize,
) -> Result<usize, Errno> {
    let count = slices.len().min(MAX_VECTORS);
    let guards: Vec<_> = slices[..count].iter().map(|s| s.ptr_guard_mut()).collect();
    let vectors: Vec<libc::iovec> = guards
        .iter()
        .map(|guard| libc::iovec {
            iov_base: guard.as_ptr().cast(),
            iov_len: guard.len(),
        })
        .collect();
    loop {
        let done = call(vectors.as_ptr(), count as libc::c_int);
        match usize::try_from(done) {
            Ok(done) => return Ok(done),
            Err(_) if last() == Errno::INTR => {}
            Err(_) => return Err(last()),
        }
    }
}

/// Sets the user of the calling thread for file systems (setfsuid(2)).
pub(crate) fn set_fsuid(uid: u32) -> Result<(), Errno> {
    // SAFETY: no memory; the identity is the calling thread's alone.
    unsafe { libc::setfsuid(uid) };
    // SAFETY: as above. An invalid id changes nothing and tells the present one.
    let now = unsafe { libc::setfsuid(u32::MAX) };
    if now as u32 == uid {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}

/// Sets the group of the calling thread for file systems (setfsgid(2)).
pub(crate) fn set_fsgid(gid: u32) -> Result<(), Errno> {
    // SAFETY: as in `set_fsuid`.
    unsafe { libc::setfsgid(gid) };
    // SAFETY: as in `set_fsuid`.
    let now = unsafe { libc::setfsgid(u32::MAX) };
    if now as u32 == gid {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}

/// Gives the calling thread a umask and a working folder of its own.
pub(crate) fn own_surroundings() -> Result<(), Errno> {
    // SAFETY: CLONE_FS copies what the thread shares; no memory, no descriptors.
    check(unsafe { libc::unshare(libc::CLONE_FS) })
}

/// Whether the calling thread's identity for file systems may use a file so
/// (faccessat2(2)).
pub(crate) fn access(fd: BorrowedFd<'_>, mode: libc::c_int) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_EACCESS;
    // SAFETY: the path is a text with a zero at its end.
    let result = unsafe {
        libc::syscall(
            libc::SYS_faccessat2,
            fd.as_raw_fd(),
            c"".as_ptr(),
            mode,
            flags,
        )
    };
    if result < 0 { Err(last()) } else { Ok(()) }
}

/// A range of an open file description's locks (fcntl(2), F_OFD_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// F_RDLCK, F_WRLCK or F_UNLCK.
    pub(crate) kind: i16,
    /// First byte.
    pub(crate) start: i64,
    /// Number of bytes, 0 up to the end.
    pub(crate) len: i64,
    /// Who holds it: a process of the host, or 0.
    pub(crate) pid: i32,
}

/// How to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Tell who is in the way.
    Get,
    /// Lock or fail.
    Set,
    /// Lock, waiting; a signal ends it.
    Wait,
}

/// Locks, unlocks or asks.
pub(crate) fn lock(fd: BorrowedFd<'_>, how: Lock, range: Range) -> Result<Range, Errno> {
    let command = match how {
        Lock::Get => libc::F_OFD_GETLK,
        Lock::Set => libc::F_OFD_SETLK,
        Lock::Wait => libc::F_OFD_SETLKW,
    };
    // SAFETY: zeros are a valid flock structure.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = range.kind;
    lock.l_whence = libc::SEEK_SET as i16;
    lock.l_start = range.start;
    lock.l_len = range.len;
    // SAFETY: the pointer is to a live structure of the type that the command takes.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), command, &mut lock) })?;
    Ok(Range {
        kind: lock.l_type,
        start: lock.l_start,
        len: lock.l_len,
        pid: lock.l_pid.max(0),
    })
}

/// Reads entries of a folder (`struct linux_dirent64`); the number of bytes.
pub(crate) fn read_folder(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the buffer's length.
    let count = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            fd.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    usize::try_from(count).map_err(|_| last())
}

extern "C" fn nothing(_: libc::c_int) {}

/// Makes [`wake`] end a wait instead of the process.
pub(crate) fn prepare_wakes() -> Result<(), Errno> {
    // SAFETY: zeros are a valid sigaction: no flags (so that calls are not started
    // again), an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing and lives as long as the program.
    check(unsafe { libc::sigaction(WAKE, &action, std::ptr::null_mut()) })
}

/// Interrupts the call that a thread of this process waits in.
pub(crate) fn wake(tid: i32) {
    // SAFETY: no memory. A thread that is gone gives ESRCH, which says the same.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, WAKE) };
}

#[cfg(test)]
pub(crate) mod tests {
    use std::ffi::CString;
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    /// Puts a tmpfs on a folder, in a mount namespace of the calling thread's own.
    pub(crate) fn private_tmpfs(path: &Path) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let none = std::ptr::null();
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: all texts end with a zero and live over the calls.
        let done = unsafe {
            libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) == 0
                && libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) == 0
                && libc::mount(none, path.as_ptr(), c"tmpfs".as_ptr(), 0, none.cast()) == 0
        };
        if done {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

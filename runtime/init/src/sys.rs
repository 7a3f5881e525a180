//! System calls that have no safe wrapper in the crates that we use.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use isola_proto::spec::SockFilter;
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

/// Which side of a clone we are.
pub(crate) enum Forked {
    /// The maker.
    Parent {
        /// The new process as the maker sees it.
        pid: Pid,
        /// A descriptor of it.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Of linux/sched.h; libc's constant is cut off.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2) without shared memory. `flags` are CLONE_NEW*, CLONE_PARENT;
/// `cgroup` is a folder of a version 2 hierarchy to be born in.
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data for which all zeros is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    // With CLONE_PARENT the signal is the one that our own parent asked for.
    if flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child gets a copy of the address space and goes on on a copy
    // of this stack; callers are single-threaded, so no lock is held by a thread that is
    // not there. The kernel writes only to `pidfd`, which outlives the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match Pid::from_raw(pid as i32) {
        _ if pid < 0 => Err(io::Error::last_os_error()),
        None => Ok(Forked::Child),
        // SAFETY: the call succeeded, so the kernel stored a new descriptor that is ours alone.
        Some(pid) => Ok(Forked::Parent {
            pid,
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// fork(2) by the oldest system call there is: common seccomp filters deny
/// clone3, and this one runs behind the workload's filter. `None` in the child.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: as in `clone3`: no shared memory, single-threaded, no pointers are passed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(Pid::from_raw(pid as i32))
    }
}

/// Ends the process at once: no destructors, no buffers of the parent's copy.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// execve(2); returns only with the error.
pub(crate) fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// execveat(2) of the open file itself; returns only with the error.
pub(crate) fn fexecve(program: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: as in `execve`; the path is the empty string, which AT_EMPTY_PATH asks for.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// All signals to their default action, none blocked.
pub(crate) fn reset_signals() {
    // Handler, flags, restorer, mask as the kernel lays them out: all zero is SIG_DFL. Not
    // through the C library, which leaves out the two signals that it keeps for itself.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the structure outlives the call, installs no handler, and is only read. SIGKILL
        // and SIGSTOP are refused, and need nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null::<u64>(),
                8,
            );
        }
    }
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Blocks every signal, so that they can be taken with [`wait_signal`].
pub(crate) fn block_signals() {
    // SAFETY: the set is initialised by sigfillset before it is read.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// The next signal that is pending, and its sender's pid (0 from outside of the
/// pid namespace or from the kernel).
pub(crate) fn wait_signal() -> io::Result<(i32, i32)> {
    // SAFETY: set and info are local and initialised before they are read.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let signal = libc::sigwaitinfo(&raw const all, &raw mut info);
        if signal < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok((signal, info.si_pid()))
        }
    }
}

/// close_range(2).
pub(crate) fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: takes no pointers. Callers close descriptors that no live value of theirs owns: they
    // are a forked child that never returns to the code that owned them.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// dup2(2), so that `to` survives execve.
pub(crate) fn dup2(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: takes no pointers; see `close_range` for who owns `to`.
    match unsafe { libc::dup2(from, to) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// fcntl(F_DUPFD_CLOEXEC): a copy numbered `at_least` or higher.
pub(crate) fn dup_above(fd: RawFd, at_least: RawFd) -> io::Result<RawFd> {
    // SAFETY: takes no pointers.
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, at_least) } {
        -1 => Err(io::Error::last_os_error()),
        copy => Ok(copy),
    }
}

/// SIGKILL to all that may be signalled, but the caller and the first process of its pid
/// namespace (kill(2), -1).
pub(crate) fn kill_others() -> io::Result<()> {
    // SAFETY: takes no pointers.
    match unsafe { libc::kill(-1, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes possession of a descriptor that is known to be open.
pub(crate) fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass a descriptor that they made a moment ago and that nothing else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A copy of the number of a descriptor that the parent's half of the program
/// owns; the child never returns there, so it stays open.
pub(crate) fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: see above; callers keep the descriptor open until execve or exit.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// What mount_setattr(2) is to change.
#[derive(Clone, Copy, Default)]
pub(crate) struct MountChange<'a> {
    /// MOUNT_ATTR_* to set.
    pub(crate) set: u64,
    /// MOUNT_ATTR_* to clear.
    pub(crate) clear: u64,
    /// MS_PRIVATE, MS_SLAVE, MS_SHARED or 0.
    pub(crate) propagation: u64,
    /// User namespace for MOUNT_ATTR_IDMAP.
    pub(crate) namespace: Option<BorrowedFd<'a>>,
}

/// mount_setattr(2) on the mount that `tree` is the root of.
pub(crate) fn mount_setattr(
    tree: BorrowedFd<'_>,
    recursive: bool,
    change: MountChange<'_>,
) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: change.namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and attributes outlive the call, the size is that of the structure.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Installs a seccomp filter on this thread.
pub(crate) fn seccomp_filter(filter: &[SockFilter]) -> io::Result<()> {
    let mut program: Vec<libc::sock_filter> = filter
        .iter()
        .map(|f| libc::sock_filter {
            code: f.0,
            jt: f.1,
            jf: f.2,
            k: f.3,
        })
        .collect();
    let len =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let fprog = libc::sock_fprog {
        len,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: `fprog` points to `len` instructions that outlive the call; the kernel copies them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const fprog,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings up the loopback device of this network namespace.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: ifreq is plain data; both requests read and write only within it, and ifr_flags
    // is the member of the union that these requests use.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Any signal of the kernel's, those for real time included.
pub(crate) fn signal(number: i32) -> Option<Signal> {
    if !(1..=64).contains(&number) {
        return None;
    }
    // SAFETY: the number is one that the kernel has a signal for. Those that the C library keeps for
    // itself are only ever sent on, never handled here.
    Some(unsafe { Signal::from_raw_unchecked(number) })
}

/// unshare(2) of namespaces; never of the descriptor table.
pub(crate) fn unshare(namespaces: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: what makes this unsafe is CLONE_FILES, which callers do not pass.
    unsafe { rustix::thread::unshare_unsafe(namespaces - UnshareFlags::FILES) }
}

/// A session keyring of its own, so that the maker's keys are out of reach (keyctl(2)).
pub(crate) fn leave_keyring() -> io::Result<()> {
    // SAFETY: a null name asks for an anonymous keyring; no pointers are passed.
    let joined = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    match io::Error::last_os_error() {
        _ if joined >= 0 => Ok(()),
        // A kernel without keyrings, or a filter around us that denies them.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyring_is_another_one() {
        // Credentials belong to a thread, so this is tried on one of our own.
        let ids = std::thread::spawn(|| {
            // SAFETY: takes no pointers; -3 is the session keyring, which is not made when absent.
            let id =
                || unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_GET_KEYRING_ID, -3, 0) };
            let before = id();
            leave_keyring().unwrap();
            (before, id())
        });
        let (before, after) = ids.join().unwrap();
        assert_ne!(before, after);
    }
}

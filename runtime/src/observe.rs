//! What the host can see of a wall from outside: used to show, not to decide.
#![allow(unsafe_code)]

use std::io;

use isola_proto::spec::SockFilter;
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::seccomp::allowed_syscalls;

/// From linux/ptrace.h; libc does not name it.
const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;

/// Number of system calls that the threads of a host process may make: the
/// largest over its threads, read from the filters in force
/// (PTRACE_SECCOMP_GET_FILTER, ptrace(2)). The process is stopped for moments.
///
/// # Errors
/// Without CAP_SYS_ADMIN, when somebody else traces it, or when it has ended.
pub fn allowed_host_syscalls(pid: i32) -> Result<usize> {
    let folder = format!("/proc/{pid}/task");
    let threads = std::fs::read_dir(&folder)
        .map_err(|error| Error::system(format!("read {folder}"), error))?;
    let ids = threads
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut most = 0;
    for id in ids {
        let filters = filters(Pid::from_raw(id))
            .map_err(|error| Error::system(format!("read the filters of thread {id}"), error))?;
        // Every filter must allow a call; none at all allows every call.
        let count = filters.iter().map(|filter| allowed_syscalls(filter)).min();
        most = most.max(count.unwrap_or_else(|| allowed_syscalls(&[])));
    }
    Ok(most)
}

fn filters(thread: Pid) -> io::Result<Vec<Vec<SockFilter>>> {
    use nix::sys::ptrace;
    ptrace::seize(thread, ptrace::Options::empty())?;
    let filters = ptrace::interrupt(thread)
        .and_then(|()| waitpid(thread, Some(WaitPidFlag::__WALL)))
        .map(|_| {
            let mut filters = Vec::new();
            while let Ok(filter) = filter(thread, filters.len()) {
                filters.push(filter);
            }
            filters
        });
    ptrace::detach(thread, None)?;
    Ok(filters?)
}

fn filter(thread: Pid, index: usize) -> nix::Result<Vec<SockFilter>> {
    // SAFETY: without a buffer the kernel only returns the number of instructions.
    let count = unsafe {
        libc::ptrace(
            PTRACE_SECCOMP_GET_FILTER,
            thread.as_raw(),
            index,
            std::ptr::null_mut::<libc::sock_filter>(),
        )
    };
    let count = usize::try_from(Errno::result(count)?).map_err(|_| Errno::EINVAL)?;
    let mut code = vec![
        libc::sock_filter {
            code: 0,
            jt: 0,
            jf: 0,
            k: 0
        };
        count
    ];
    // SAFETY: the buffer has room for as many instructions as the kernel has just
    // said, and the filters of a stopped thread do not change.
    let read = unsafe {
        libc::ptrace(
            PTRACE_SECCOMP_GET_FILTER,
            thread.as_raw(),
            index,
            code.as_mut_ptr(),
        )
    };
    Errno::result(read)?;
    Ok(code
        .into_iter()
        .map(|step| SockFilter(step.code, step.jt, step.jf, step.k))
        .collect())
}

/// Memory in bytes that a process has to itself (`Private_*` of
/// proc_pid_smaps_rollup(5)).
///
/// # Errors
/// The process has ended.
pub fn private_memory(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::system(format!("read {path}"), error))?;
    let kib = text
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(kib.sum::<u64>() * 1024)
}

/// The rate of the CPU's time stamp counter in kHz, measured against the clock.
pub fn tsc_khz() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction; it only reads a counter.
    let now = || unsafe { std::arch::x86_64::_rdtsc() };
    let (start, first) = (std::time::Instant::now(), now());
    std::thread::sleep(std::time::Duration::from_millis(10));
    let (ticks, time) = (now().wrapping_sub(first), start.elapsed().as_nanos());
    u64::try_from(u128::from(ticks) * 1_000_000 / time.max(1)).unwrap_or(0)
}

//! The filter: what serving needs, no more. Anything else kills the process, and its
//! members start it again.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::Error;

/// Calls whose arguments do not matter. There is no bind(2), no open for writing
/// (below), no clone, no exec, no kill of others.
const PLAIN: &[i64] = &[
    // Sockets.
    libc::SYS_connect,
    libc::SYS_accept4,
    libc::SYS_listen,
    libc::SYS_shutdown,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Descriptors.
    libc::SYS_close,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    // The file of resolvers, the lock, the socket's file.
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_flock,
    libc::SYS_unlinkat,
    // Memory, time, locks, and the end.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Installs the filter on this thread, which is the only one.
pub(super) fn install() -> Result<(), Error> {
    let failed = |error: BackendError| Error::Seccomp(error.to_string());
    let program = program().map_err(failed)?;
    seccompiler::apply_filter(&program).map_err(|error| Error::Seccomp(error.to_string()))
}

fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    rules.extend(PLAIN.iter().map(|number| (*number, Vec::new())));
    // Memory may be mapped, but never to be executed.
    let not_executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    for number in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(number, vec![rule(2, not_executable.clone(), 0)?]);
    }
    // Files are opened for reading.
    let mode = SeccompCmpOp::MaskedEq(u64::from((libc::O_ACCMODE | libc::O_CREAT).cast_unsigned()));
    rules.insert(
        libc::SYS_openat,
        vec![rule(2, mode, libc::O_RDONLY as u64)?],
    );
    let families = [libc::AF_INET, libc::AF_INET6];
    rules.insert(libc::SYS_socket, each(0, families.map(i64::from))?);
    let fcntl = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];
    rules.insert(libc::SYS_fcntl, each(1, fcntl.map(i64::from))?);
    let ioctl = [libc::FIONBIO, libc::SIOCGIFINDEX];
    rules.insert(
        libc::SYS_ioctl,
        each(1, ioctl.map(|number| number.cast_signed()))?,
    );
    // abort(3), of a panic.
    rules.insert(libc::SYS_tgkill, each(2, [i64::from(libc::SIGABRT)])?);
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )
    .and_then(BpfProgram::try_from)
}

/// One rule for each value of an argument.
fn each<const N: usize>(argument: u8, values: [i64; N]) -> Result<Vec<SeccompRule>, BackendError> {
    values
        .into_iter()
        .map(|value| rule(argument, SeccompCmpOp::Eq, value.cast_unsigned()))
        .collect()
}

/// Allows a call whose argument compares so.
fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_filter_can_be_made() {
        assert!(super::program().unwrap().len() > super::PLAIN.len());
    }
}

//! A filter for each kind of thread: what it needs once the guest runs, no more.
//! Anything else kills the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::Error;

/// Kinds of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadKind {
    /// Runs a vCPU.
    Vcpu,
    /// Serves a disk.
    Disk,
    /// Serves a queue pair of a network device.
    Net,
    /// Talks with the server of shared folders.
    Shares,
    /// The main thread: everything else.
    Events,
}

/// Numbers of the KVM ioctls that a running vCPU needs (KVM API).
const KVM_RUN: u64 = 0xae80;
const KVM_GET_REGS: u64 = 0x8090_ae81;

/// Locks, memory for the allocator, messages, time, and the end of the process.
const COMMON: &[i64] = &[
    libc::SYS_futex,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_write,
    libc::SYS_clock_gettime,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_exit_group,
];

const DISK: &[i64] = &[
    libc::SYS_read,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_fdatasync,
    libc::SYS_fallocate,
];

const NET: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
];

const SHARES: &[i64] = &[
    libc::SYS_read,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_poll,
    libc::SYS_ppoll,
];

const EVENTS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    libc::SYS_getrandom,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
];

/// Installs the filter of a kind on the calling thread.
pub(super) fn install(kind: ThreadKind) -> Result<(), Error> {
    let program = program(kind)?;
    seccompiler::apply_filter(&program).map_err(|error| Error::Seccomp(error.to_string()))
}

fn program(kind: ThreadKind) -> Result<BpfProgram, Error> {
    let failed = |error: seccompiler::BackendError| Error::Seccomp(error.to_string());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let plain = match kind {
        ThreadKind::Vcpu => &[],
        ThreadKind::Disk => DISK,
        ThreadKind::Net => NET,
        ThreadKind::Shares => SHARES,
        ThreadKind::Events => EVENTS,
    };
    rules.extend(
        COMMON
            .iter()
            .chain(plain)
            .map(|number| (*number, Vec::new())),
    );
    // Memory may be mapped, but never to be executed.
    let not_executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    for number in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(
            number,
            vec![rule(2, not_executable.clone(), 0).map_err(failed)?],
        );
    }
    if kind == ThreadKind::Events {
        // Debug builds of the standard library look before they close.
        let look = rule(1, SeccompCmpOp::Eq, libc::F_GETFD as u64).map_err(failed)?;
        rules.insert(libc::SYS_fcntl, vec![look]);
    }
    let requests: &[u64] = match kind {
        ThreadKind::Vcpu => &[KVM_RUN, KVM_GET_REGS],
        ThreadKind::Net => &[libc::TUNSETOFFLOAD, libc::TUNSETQUEUE],
        ThreadKind::Disk | ThreadKind::Shares | ThreadKind::Events => &[],
    };
    if !requests.is_empty() {
        let allowed: Result<Vec<_>, _> = requests
            .iter()
            .map(|request| rule(1, SeccompCmpOp::Eq, *request))
            .collect();
        rules.insert(libc::SYS_ioctl, allowed.map_err(failed)?);
    }
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )
    .and_then(BpfProgram::try_from)
    .map_err(failed)
}

/// Allows a call whose argument compares so.
fn rule(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_filter() {
        for kind in [
            ThreadKind::Vcpu,
            ThreadKind::Disk,
            ThreadKind::Net,
            ThreadKind::Shares,
            ThreadKind::Events,
        ] {
            let program = program(kind).unwrap();
            assert!(program.len() > COMMON.len(), "{kind:?}");
        }
    }
}

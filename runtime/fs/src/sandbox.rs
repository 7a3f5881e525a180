//! What the program does to itself before it looks at the first request.

use std::collections::BTreeMap;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::creds::WANTED;

/// Why the program can't shut itself in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{what}: {why}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        why: Errno,
    },
    /// The filter can't be made or installed.
    #[error("seccomp filter: {0}")]
    Seccomp(String),
}

fn refused(what: &'static str) -> impl FnOnce(Errno) -> Error {
    move |why| Error::Refused { what, why }
}

/// Raises the number of open files as far as it may be; that number.
pub(crate) fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // A refusal leaves it as it was.
    let _ = setrlimit(Resource::Nofile, raised);
    let current = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(current).unwrap_or(1 << 20).min(1 << 20)
}

/// Keeps the few capabilities that serving needs, forbids new ones, and allows the
/// system calls that serving makes. Applies to all threads started later.
pub(crate) fn enter() -> Result<(), Error> {
    rustix::thread::set_no_new_privs(true).map_err(refused("PR_SET_NO_NEW_PRIVS"))?;
    let have = capabilities(None).map_err(refused("capget"))?;
    let keep = have.permitted & WANTED;
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(refused("capset"))?;
    let no_dump = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(no_dump).map_err(refused("PR_SET_DUMPABLE"))?;
    filter()
}

/// Calls that are allowed whatever their arguments.
const CALLS: &[i64] = &[
    // Files.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_copy_file_range,
    libc::SYS_faccessat2,
    libc::SYS_getxattr,
    libc::SYS_setxattr,
    libc::SYS_listxattr,
    libc::SYS_removexattr,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_fchdir,
    libc::SYS_umask,
    // Identities.
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_geteuid,
    libc::SYS_getegid,
    // The machine's program and events.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    // Threads, memory, time, the end.
    libc::SYS_futex,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sigaltstack,
    // The first thread makes glibc install a handler of its own.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Refused by the second filter, so that glibc takes clone(2), whose flags show.
    libc::SYS_clone3,
];

fn filter() -> Result<(), Error> {
    let failed = |error: seccompiler::BackendError| Error::Seccomp(error.to_string());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let mut only = |call: i64, argument: u8, operator: SeccompCmpOp, value: u64| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
        Ok(())
    };
    let own = rustix::process::getpid().as_raw_nonzero().get() as u64;
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
    let no_code = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    [
        // Threads may be made, and processes of no kind.
        (libc::SYS_clone, 0, SeccompCmpOp::MaskedEq(thread), thread),
        (
            libc::SYS_unshare,
            0,
            SeccompCmpOp::Eq,
            libc::CLONE_FS as u64,
        ),
        (libc::SYS_tgkill, 0, SeccompCmpOp::Eq, own),
        (
            libc::SYS_prctl,
            0,
            SeccompCmpOp::Eq,
            libc::PR_SET_NAME as u64,
        ),
        // Memory may be mapped, but never to be executed.
        (libc::SYS_mmap, 2, no_code.clone(), 0),
        (libc::SYS_mprotect, 2, no_code, 0),
    ]
    .into_iter()
    .try_for_each(|(call, argument, operator, value)| only(call, argument, operator, value))
    .map_err(failed)?;
    let main = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    );
    let old_clone = SeccompFilter::new(
        [(libc::SYS_clone3, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
        TargetArch::x86_64,
    );
    for filter in [old_clone, main] {
        let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(failed)?;
        seccompiler::apply_filter(&program).map_err(|error| Error::Seccomp(error.to_string()))?;
    }
    Ok(())
}

//! What the program does to itself before the guest runs, on top of what its
//! parent did (namespaces, an empty root, no capabilities).

mod seccomp;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};

pub use seccomp::ThreadKind;

/// Why the program can't shut itself in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// prctl(2) failed.
    #[error("{what}: {why}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        why: std::io::Error,
    },
    /// Landlock is there but refused.
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// A filter can't be made or installed.
    #[error("seccomp filter: {0}")]
    Seccomp(String),
}

/// No new privileges, no core dump and no tracing by equals, no path at all. Applies
/// to all threads started later.
pub(crate) fn enter() -> Result<(), Error> {
    let failed = |what| {
        move |why: rustix::io::Errno| Error::Process {
            what,
            why: why.into(),
        }
    };
    rustix::thread::set_no_new_privs(true).map_err(failed("PR_SET_NO_NEW_PRIVS"))?;
    let no_dump = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(no_dump).map_err(failed("PR_SET_DUMPABLE"))?;
    restrict_paths()
}

/// Forbids every path, TCP, abstract sockets and signals to other processes, as far
/// as the kernel's Landlock knows them. A kernel without it is no error: the
/// parent's sandbox and the filters hold.
fn restrict_paths() -> Result<(), Error> {
    const ABI: ABI = ABI::V6;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI))?
        .handle_access(AccessNet::from_all(ABI))?
        .scope(Scope::from_all(ABI))?
        .create()?
        .restrict_self()?;
    Ok(())
}

/// Installs the calling thread's filter.
pub(crate) fn filter(kind: ThreadKind) -> Result<(), Error> {
    seccomp::install(kind)
}

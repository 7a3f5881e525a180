//! What the process does to itself: a session of its own, an empty root, no
//! capabilities, no paths but two folders, and few system calls.

mod detach;
mod seccomp;

use std::io;
use std::os::fd::BorrowedFd;

use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::pivot_root;

pub(crate) use detach::detach;

/// Why the process can't shut itself in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    #[error("seccomp filter: {0}")]
    Seccomp(String),
}

fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::System(what, error.into())
}

/// Goes into an empty root of its own. The starter's mounts are let go with the old
/// one: it may be a supervisor, whose mounts must not outlive it.
pub(crate) fn leave_files() -> Result<(), Error> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).map_err(system("unshare(CLONE_NEWNS)"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(system("make the mounts private"))?;
    // Any folder that is on every host; it is hidden in this namespace only.
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("isola-netd"),
        "/proc",
        Some("tmpfs"),
        flags,
        Some("mode=0555,size=4k"),
    )
    .map_err(system("make an empty root"))?;
    std::env::set_current_dir("/proc").map_err(system("chdir"))?;
    // Puts the old root over the new one, and takes it off again (pivot_root(2)).
    pivot_root(".", ".").map_err(system("pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(system("umount the old root"))?;
    std::env::set_current_dir("/").map_err(system("chdir"))
}

/// Gives up all but what serving needs: to read files in `resolvers` and to remove
/// the socket in `folder`.
pub(crate) fn enter(resolvers: BorrowedFd<'_>, folder: BorrowedFd<'_>) -> Result<(), Error> {
    // The bounding set first: changing it needs a capability.
    for set in [
        CapSet::Bounding,
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set)?;
    }
    rustix::thread::set_no_new_privs(true).map_err(system("PR_SET_NO_NEW_PRIVS"))?;
    let no_dump = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(no_dump).map_err(system("PR_SET_DUMPABLE"))?;
    restrict_paths(resolvers, folder)?;
    seccomp::install()
}

/// As far as the kernel's Landlock knows it: no path but the two, no TCP port, no
/// abstract socket, no signal to another process.
fn restrict_paths(resolvers: BorrowedFd<'_>, folder: BorrowedFd<'_>) -> Result<(), Error> {
    const ABI: ABI = ABI::V6;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(ABI))?
        .create()?
        .add_rule(PathBeneath::new(resolvers, AccessFs::ReadFile))?
        .add_rule(PathBeneath::new(folder, AccessFs::RemoveFile))?
        .restrict_self()?;
    Ok(())
}

//! The mounts of a sandbox, each made detached and attached to an open target.

use std::os::fd::{AsFd, OwnedFd};

use isola_proto::Failure;
use isola_proto::spec::{Mount, MountSource, SandboxSpec};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::cgroup;
use crate::dev::{self, Dev};
use crate::error::{Setup, failure, reason};
use crate::mountfd::{attach, new_fs, options};
use crate::path::{PROCFS, Tree, clean, file_type, magic, stat};
use crate::sources::{Sources, attributes};

/// SYSFS_MAGIC.
const SYSFS: i64 = 0x6265_6572;

/// Files of procfs that tell about the machine and that tools like lxcfs
/// replace; everything else of procfs is no mount target.
const REPLACEABLE: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// Makes all mounts; the /dev among them, if there is one, comes back.
pub(crate) fn make_all(
    root: Tree<'_>,
    spec: &SandboxSpec,
    sources: &Sources,
    cgroups: &str,
) -> Result<Option<Dev>, Failure> {
    let mut dev = None;
    for (mount, source) in spec.root.mounts.iter().zip(&sources.mounts) {
        if clean(&mount.target) == "/" {
            return Err(failure(format!(
                "mount on '{}': that is the root",
                mount.target
            )));
        }
        match &mount.source {
            MountSource::Proc => kernel_fs(root, mount, "proc", PROCFS, source.as_ref())?,
            MountSource::Sysfs => kernel_fs(root, mount, "sysfs", SYSFS, source.as_ref())?,
            MountSource::Dev => {
                let target = real_folder(root, &mount.target)?;
                dev = Some(dev::mount(target.as_fd(), mount, spec, sources)?);
            }
            MountSource::Mqueue => {
                let target = folder(root, &mount.target)?;
                let made = if source.is_none() {
                    Some(new_fs("mqueue", &[], flags(mount))?)
                } else {
                    None
                };
                place(source.as_ref().or(made.as_ref()), &target, mount)?;
            }
            MountSource::Cgroup => {
                let target = real_folder(root, &mount.target)?;
                cgroup::mount(target.as_fd(), mount, cgroups)?;
            }
            MountSource::Tmpfs { data } => tmpfs(root, mount, data)?,
            MountSource::Bind { .. } | MountSource::JoinedShm => {
                bind(root, mount, source.as_ref())?
            }
        }
    }
    check_kernel_fs(root, spec)?;
    Ok(dev)
}

fn flags(mount: &Mount) -> MountAttrFlags {
    MountAttrFlags::from_bits_retain(attributes(mount) as u32)
}

fn place(tree: Option<&OwnedFd>, target: &OwnedFd, mount: &Mount) -> Result<(), Failure> {
    let tree = tree.ok_or_else(|| {
        failure(format!(
            "mount on '{}': its source was not opened",
            mount.target
        ))
    })?;
    attach(tree, target).setup(|| format!("mount on '{}'", mount.target))
}

/// A target folder, made when absent, that lies outside of procfs.
fn folder(root: Tree<'_>, path: &str) -> Result<OwnedFd, Failure> {
    let target = root
        .make_dir(path)
        .setup(|| format!("make the mount point '{path}'"))?;
    refuse_procfs(&target, path)?;
    Ok(target)
}

/// A target for what the kernel and our own later steps rely on: no component of it
/// may be a symbolic link (CVE-2019-19921, CVE-2023-27561).
fn real_folder(root: Tree<'_>, path: &str) -> Result<OwnedFd, Failure> {
    let clean = clean(path);
    let mut found = root.open_real(&clean, OFlags::PATH | OFlags::DIRECTORY);
    if matches!(found, Err(Errno::NOENT)) {
        root.make_dir(&clean)
            .setup(|| format!("make the mount point '{path}'"))?;
        found = root.open_real(&clean, OFlags::PATH | OFlags::DIRECTORY);
    }
    let target = found.map_err(|error| match error {
        Errno::LOOP => failure(format!(
            "mount on '{path}': it is a symbolic link in the image"
        )),
        Errno::NOTDIR => failure(format!(
            "mount on '{path}': it is not a folder in the image"
        )),
        error => failure(format!("mount on '{path}': {}", reason(&error.into()))),
    })?;
    refuse_on_procfs(&target, path)?;
    Ok(target)
}

/// Refuses mount points on procfs but for the few that are meant to be replaced:
/// what lies over /proc/self/attr or /proc/sys misleads later writes.
fn refuse_on_procfs(target: impl AsFd, path: &str) -> Result<(), Failure> {
    let on_procfs = magic(target).setup(|| format!("look at the mount point '{path}'"))? == PROCFS;
    if on_procfs && !REPLACEABLE.contains(&clean(path).as_str()) {
        return Err(over_proc(path));
    }
    Ok(())
}

/// The same for what the user mounts, which may not be /proc itself either.
pub(crate) fn refuse_procfs(target: impl AsFd, path: &str) -> Result<(), Failure> {
    if clean(path) == "/proc" {
        return Err(over_proc(path));
    }
    refuse_on_procfs(target, path)
}

fn over_proc(path: &str) -> Failure {
    failure(format!("mount on '{path}': nothing may lie over /proc"))
}

fn kernel_fs(
    root: Tree<'_>,
    mount: &Mount,
    kind: &str,
    number: i64,
    bound: Option<&OwnedFd>,
) -> Result<(), Failure> {
    let target = real_folder(root, &mount.target)?;
    let made = if bound.is_none() {
        Some(new_fs(kind, &[], flags(mount))?)
    } else {
        None
    };
    place(bound.or(made.as_ref()), &target, mount)?;
    check_magic(root, &mount.target, number)
}

fn check_magic(root: Tree<'_>, path: &str, number: i64) -> Result<(), Failure> {
    let what = || format!("look at '{path}'");
    let found = root
        .open_real(&clean(path), OFlags::PATH | OFlags::DIRECTORY)
        .setup(what)?;
    // The root of a procfs is inode 1; a folder below it would be a bind of a part.
    let is_root = number != PROCFS || stat(&found).setup(what)?.stx_ino == 1;
    if magic(&found).setup(what)? != number || !is_root {
        return Err(failure(format!(
            "'{path}' is not what was mounted there: another mount lies over it"
        )));
    }
    Ok(())
}

/// After the last mount: procfs must still be what is seen on its path.
fn check_kernel_fs(root: Tree<'_>, spec: &SandboxSpec) -> Result<(), Failure> {
    for mount in &spec.root.mounts {
        if mount.source == MountSource::Proc {
            check_magic(root, &mount.target, PROCFS)?;
        }
    }
    Ok(())
}

fn tmpfs(root: Tree<'_>, mount: &Mount, data: &str) -> Result<(), Failure> {
    let target = folder(root, &mount.target)?;
    let mut options = options(data);
    // Without a mode of its own it takes that of the folder that it covers.
    let mode = stat(&target)
        .setup(|| format!("look at '{}'", mount.target))?
        .stx_mode
        & 0o7777;
    let mode = format!("{mode:o}");
    if !options.iter().any(|(key, _)| *key == "mode") {
        options.push(("mode", Some(&mode)));
    }
    let tree = new_fs("tmpfs", &options, flags(mount))
        .map_err(|error| failure(format!("mount on '{}': {error}", mount.target)))?;
    place(Some(&tree), &target, mount)
}

fn bind(root: Tree<'_>, mount: &Mount, source: Option<&OwnedFd>) -> Result<(), Failure> {
    let what = || format!("make the mount point '{}'", mount.target);
    let is_folder = match source {
        Some(tree) => file_type(tree).setup(what)? == FileType::Directory,
        None => false,
    };
    let target = if is_folder {
        root.make_dir(&mount.target).setup(what)?
    } else {
        root.make_file(&mount.target).setup(what)?
    };
    refuse_procfs(&target, &mount.target)?;
    if (file_type(&target).setup(what)? == FileType::Directory) != is_folder {
        let kinds = if is_folder {
            ("a folder", "a file")
        } else {
            ("a file", "a folder")
        };
        return Err(failure(format!(
            "mount on '{}': the source is {}, the target {}",
            mount.target, kinds.0, kinds.1
        )));
    }
    place(source, &target, mount)
}

/// Whether /dev is to be read-only in the end; its nodes work all the same.
pub(crate) fn dev_is_readonly(spec: &SandboxSpec) -> bool {
    spec.root
        .mounts
        .iter()
        .any(|mount| mount.source == MountSource::Dev && mount.readonly)
}

//! What the maker opens for its child before the clone: the child may be in a user
//! namespace in which it could not open them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use isola_proto::Failure;
use isola_proto::spec::{Device, Mount, MountSource, SandboxSpec};
use rustix::fs::{CWD, FileType, makedev};

use crate::dev::STANDARD_NODES;
use crate::error::{Setup, failure};
use crate::mountfd::clone_tree;
use crate::path::stat;
use crate::sys::{MountChange, mount_setattr};

/// Detached mounts, ready to be attached.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// One per entry of `RootSpec::mounts`; only binds, and kinds that the child
    /// can't mount itself, have one.
    pub(crate) mounts: Vec<Option<OwnedFd>>,
    /// Device nodes by path in the sandbox; only with a user namespace, in which
    /// mknod(2) is not allowed.
    pub(crate) devices: BTreeMap<String, OwnedFd>,
}

impl Sources {
    /// Opens everything that the specification names outside of the root.
    pub(crate) fn open(spec: &SandboxSpec, shm: Option<&OwnedFd>) -> Result<Sources, Failure> {
        let mut sources = Sources::default();
        for mount in &spec.root.mounts {
            sources.mounts.push(open_mount(mount, spec, shm)?);
        }
        if spec.namespaces.user.is_some() {
            if spec
                .root
                .mounts
                .iter()
                .any(|mount| mount.source == MountSource::Dev)
            {
                for node in STANDARD_NODES {
                    let tree = open_device(node.path, 'c', node.major, node.minor)?;
                    sources.devices.insert(node.path.to_owned(), tree);
                }
            }
            for Device {
                path,
                kind,
                major,
                minor,
                ..
            } in &spec.root.devices
            {
                if *kind != 'p' {
                    sources
                        .devices
                        .insert(path.clone(), open_device(path, *kind, *major, *minor)?);
                }
            }
        }
        Ok(sources)
    }
}

fn open_mount(
    mount: &Mount,
    spec: &SandboxSpec,
    shm: Option<&OwnedFd>,
) -> Result<Option<OwnedFd>, Failure> {
    let namespaces = &spec.namespaces;
    match &mount.source {
        MountSource::Bind {
            source,
            recursive,
            propagation,
        } => {
            let tree = clone_tree(CWD, source, *recursive)
                .setup(|| format!("bind mount of '{source}'"))?;
            apply(&tree, mount, *recursive, Some(propagation))?;
            Ok(Some(tree))
        }
        MountSource::JoinedShm => {
            let what = || format!("mount on '{}'", mount.target);
            let tree =
                shm.ok_or_else(|| failure(format!("{}: no IPC namespace is joined", what())))?;
            let tree = tree.try_clone().setup(what)?;
            apply(&tree, mount, false, Some("rprivate"))?;
            Ok(Some(tree))
        }
        // A user namespace may mount these only with a namespace of its own of that kind.
        MountSource::Sysfs if namespaces.user.is_some() && !namespaces.net => {
            outer("/sys", true, mount)
        }
        MountSource::Mqueue if namespaces.user.is_some() && !namespaces.ipc => {
            outer("/dev/mqueue", false, mount)
        }
        _ => Ok(None),
    }
}

fn outer(path: &str, recursive: bool, mount: &Mount) -> Result<Option<OwnedFd>, Failure> {
    let tree = clone_tree(CWD, path, recursive).setup(|| format!("bind mount of '{path}'"))?;
    apply(&tree, mount, recursive, Some("rprivate"))?;
    Ok(Some(tree))
}

/// The mount's flags and propagation, set before anything can be seen through it.
fn apply(
    tree: &OwnedFd,
    mount: &Mount,
    recursive: bool,
    propagation: Option<&str>,
) -> Result<(), Failure> {
    let what = || format!("flags of the mount on '{}'", mount.target);
    let set = attributes(mount);
    if set != 0 {
        mount_setattr(
            tree.as_fd(),
            recursive,
            MountChange {
                set,
                ..MountChange::default()
            },
        )
        .setup(what)?;
    }
    if let Some(name) = propagation {
        let (propagation, recursive) = parse_propagation(name).ok_or_else(|| {
            failure(format!(
                "mount on '{}': unknown propagation '{name}'",
                mount.target
            ))
        })?;
        mount_setattr(
            tree.as_fd(),
            recursive,
            MountChange {
                propagation,
                ..MountChange::default()
            },
        )
        .setup(what)?;
    }
    Ok(())
}

/// MOUNT_ATTR_* of a mount.
pub(crate) fn attributes(mount: &Mount) -> u64 {
    [
        (mount.readonly, libc::MOUNT_ATTR_RDONLY),
        (mount.nosuid, libc::MOUNT_ATTR_NOSUID),
        (mount.nodev, libc::MOUNT_ATTR_NODEV),
        (mount.noexec, libc::MOUNT_ATTR_NOEXEC),
    ]
    .into_iter()
    .filter_map(|(wanted, flag)| wanted.then_some(flag))
    .sum()
}

fn parse_propagation(name: &str) -> Option<(u64, bool)> {
    Some(match name {
        "" | "rprivate" => (libc::MS_PRIVATE, true),
        "private" => (libc::MS_PRIVATE, false),
        "slave" => (libc::MS_SLAVE, false),
        "rslave" => (libc::MS_SLAVE, true),
        "shared" => (libc::MS_SHARED, false),
        "rshared" => (libc::MS_SHARED, true),
        _ => return None,
    })
}

/// A node of the maker's /dev, found by its path or by the kernel's name for it,
/// and checked to be the device that is meant.
fn open_device(path: &str, kind: char, major: u32, minor: u32) -> Result<OwnedFd, Failure> {
    let folder = if kind == 'b' { "block" } else { "char" };
    let kernel_name = fs::read_to_string(format!("/sys/dev/{folder}/{major}:{minor}/uevent"))
        .ok()
        .and_then(|text| {
            text.lines().find_map(|line| {
                line.strip_prefix("DEVNAME=")
                    .map(|name| format!("/dev/{name}"))
            })
        });
    for candidate in [Some(path.to_owned()), kernel_name].into_iter().flatten() {
        let Ok(tree) = clone_tree(CWD, &candidate, false) else {
            continue;
        };
        if is_device(&tree, kind, major, minor) {
            return Ok(tree);
        }
    }
    Err(failure(format!(
        "device '{path}': no node {kind} {major}:{minor} to bind into the user namespace"
    )))
}

/// Whether an open node is that device.
pub(crate) fn is_device(node: impl AsFd, kind: char, major: u32, minor: u32) -> bool {
    let wanted = if kind == 'b' {
        FileType::BlockDevice
    } else {
        FileType::CharacterDevice
    };
    stat(node).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.stx_mode.into()) == wanted
            && makedev(stat.stx_rdev_major, stat.stx_rdev_minor) == makedev(major, minor)
    })
}

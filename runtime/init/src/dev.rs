//! /dev as the OCI runtime specification lists it, on a file system that the
//! image has no say in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use isola_proto::Failure;
use isola_proto::spec::{Device, Mount, SandboxSpec};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mkdirat, mknodat, openat,
    symlinkat,
};
use rustix::mount::MountAttrFlags;

use crate::error::{Setup, failure};
use crate::mountfd::{attach, new_fs};
use crate::path::{Tree, clean};
use crate::sources::{Sources, is_device};
use crate::userns::maps_inside;

/// A node that every /dev has.
pub(crate) struct Node {
    pub(crate) path: &'static str,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// "Default Devices" of the OCI runtime specification, but for console and ptmx.
pub(crate) const STANDARD_NODES: [Node; 6] = [
    Node {
        path: "/dev/null",
        major: 1,
        minor: 3,
    },
    Node {
        path: "/dev/zero",
        major: 1,
        minor: 5,
    },
    Node {
        path: "/dev/full",
        major: 1,
        minor: 7,
    },
    Node {
        path: "/dev/random",
        major: 1,
        minor: 8,
    },
    Node {
        path: "/dev/urandom",
        major: 1,
        minor: 9,
    },
    Node {
        path: "/dev/tty",
        major: 5,
        minor: 0,
    },
];

/// "Dev symbolic links" of the same, and ptmx.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The group `tty`, which owns terminals in every distribution.
const TTY_GROUP: u32 = 5;

/// A /dev that was mounted: its own file system and the devpts in it.
#[derive(Debug)]
pub(crate) struct Dev {
    pub(crate) folder: OwnedFd,
    pub(crate) pts: OwnedFd,
}

/// Mounts a /dev on the open folder `target`.
pub(crate) fn mount(
    target: BorrowedFd<'_>,
    mount: &Mount,
    spec: &SandboxSpec,
    sources: &Sources,
) -> Result<Dev, Failure> {
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    if mount.noexec {
        attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    let folder = new_fs(
        "tmpfs",
        &[("mode", Some("0755")), ("size", Some("65536k"))],
        attributes,
    )?;
    attach(&folder, target).setup(|| "attach /dev".to_owned())?;
    for node in STANDARD_NODES {
        let device = Device {
            path: node.path.to_owned(),
            kind: 'c',
            major: node.major,
            minor: node.minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        };
        place(folder.as_fd(), &device, sources)?;
    }
    for (name, to) in LINKS {
        symlinkat(to, &folder, name).setup(|| format!("make /dev/{name}"))?;
    }
    let pts = mount_pts(folder.as_fd(), spec)?;
    Ok(Dev { folder, pts })
}

fn mount_pts(dev: BorrowedFd<'_>, spec: &SandboxSpec) -> Result<OwnedFd, Failure> {
    let what = || "mount /dev/pts".to_owned();
    mkdirat(dev, "pts", Mode::from_raw_mode(0o755)).setup(what)?;
    let target = openat(
        dev,
        "pts",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .setup(what)?;
    let group = TTY_GROUP.to_string();
    let mut options = vec![("ptmxmode", Some("0666")), ("mode", Some("0620"))];
    if spec
        .namespaces
        .user
        .as_ref()
        .is_none_or(|maps| maps_inside(&maps.gids, TTY_GROUP))
    {
        options.push(("gid", Some(&group)));
    }
    // Every mount of devpts is an instance of its own since Linux 4.7.
    let pts = new_fs(
        "devpts",
        &options,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    attach(&pts, &target).setup(what)?;
    Ok(pts)
}

/// The devices beyond the standard ones, anywhere in the tree.
pub(crate) fn make_devices(
    root: Tree<'_>,
    devices: &[Device],
    sources: &Sources,
) -> Result<(), Failure> {
    for device in devices {
        let path = clean(&device.path);
        let (parent, _) = path.rsplit_once('/').unwrap_or_default();
        let folder = root
            .make_dir(parent)
            .setup(|| format!("make the folder of device '{}'", device.path))?;
        place(folder.as_fd(), device, sources)?;
    }
    Ok(())
}

/// Makes one node in an open folder, or binds the maker's there.
fn place(folder: BorrowedFd<'_>, device: &Device, sources: &Sources) -> Result<(), Failure> {
    let what = || format!("make device '{}'", device.path);
    let path = clean(&device.path);
    let name = path
        .rsplit_once('/')
        .map(|(_, name)| name)
        .filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| failure(format!("device '{}' has no name", device.path)))?;
    let kind = match device.kind {
        'c' | 'u' => FileType::CharacterDevice,
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        other => {
            return Err(failure(format!(
                "device '{}': unknown kind '{other}'",
                device.path
            )));
        }
    };
    let bound = sources.devices.get(&device.path);
    let made = match bound {
        Some(_) => mknodat(
            folder,
            name,
            FileType::RegularFile,
            Mode::from_raw_mode(0o600),
            0,
        ),
        None => mknodat(
            folder,
            name,
            kind,
            Mode::from_raw_mode(device.mode & 0o777),
            makedev(device.major, device.minor),
        ),
    };
    match made {
        // Asked for twice, or a standard one with other rights: the same device is accepted.
        Err(rustix::io::Errno::EXIST) => {}
        other => other.setup(what)?,
    }
    let node = openat(
        folder,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .setup(what)?;
    if let Some(tree) = bound {
        if !is_device(&node, device.kind, device.major, device.minor) {
            attach(tree, &node).setup(what)?;
        }
        return Ok(());
    }
    if kind != FileType::Fifo && !is_device(&node, device.kind, device.major, device.minor) {
        return Err(failure(format!(
            "device '{}': something else is there",
            device.path
        )));
    }
    let owner = (
        Some(Uid::from_raw(device.uid)),
        Some(Gid::from_raw(device.gid)),
    );
    chownat(folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).setup(what)?;
    chmodat(
        folder,
        name,
        Mode::from_raw_mode(device.mode & 0o777),
        AtFlags::empty(),
    )
    .setup(what)
}

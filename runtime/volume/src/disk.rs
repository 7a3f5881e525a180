//! The file system of an image, mounted by this host.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::error::{Error, Kind, Result};
use crate::file::{Mode, lock, lock_file};
use crate::loopdev::attach;

/// How long one waits for another kernel, or for a dead supervisor's mounts, to let
/// go of an image.
pub(crate) const LET_GO: Duration = Duration::from_secs(10);

/// Opens an image with its lock: exclusively for a machine that has it as a disk,
/// shared by what mounts it here. The lock lives as long as the open file does.
pub(crate) fn open_image(image: &Path, mode: Mode, write: bool, wait: Duration) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .open(image)
        .map_err(|error| Error::io("open", image, error))?;
    let locked =
        lock_file(&file, mode, Some(wait)).map_err(|error| Error::io("lock", image, error))?;
    if !locked {
        return Err(Error::new(
            Kind::Conflict,
            format!("{} is still in use as a disk", image.display()),
        ));
    }
    Ok(file)
}

/// The ext4 file system in `image` as a mount that is attached nowhere: nobody else
/// sees it, and it ends with the descriptor unless move_mount(2) puts it somewhere.
/// All users on this host share one loop device and one superblock, in whatever mount
/// namespaces they are; `readonly` is this mount's alone. Device nodes in it are dead.
///
/// The descriptor is one of the root folder (O_PATH); look-ups may start from it.
///
/// # Errors
/// A machine has the image as its disk; no loop devices; damage to the file system.
pub fn open_disk(image: &Path, readonly: bool) -> Result<OwnedFd> {
    let guard = image.with_file_name("loop.lock");
    let _guard = lock(&guard, Mode::Exclusive, true, None)
        .map_err(|error| Error::io("lock", &guard, error))?;
    let file = open_image(image, Mode::Shared, true, LET_GO)?;
    let device = attach(&file).map_err(|error| {
        Error::io("make a loop device of", image, error)
            .hint("volumes with size= or block= need /dev/loop-control and CAP_SYS_ADMIN")
    })?;
    mount_device(&device.path, readonly).map_err(|error| Error::io("mount", image, error))
}

fn mount_device(device: &Path, readonly: bool) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", device)?;
    // The image gets thin again where files are removed, and the kernel does not
    // write zeros over what the image's holes say already.
    fsconfig_set_flag(&context, "discard")?;
    fsconfig_set_flag(&context, "noinit_itable")?;
    // A superblock has one state for all: read-only is up to each mount.
    fsconfig_create(&context)?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    if readonly {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Mounts the file system in `image` on the existing folder `target`, in the mount
/// namespace of the caller, where it stays until it is unmounted or the namespace ends.
///
/// # Errors
/// Those of [`open_disk`]; `target` is no folder.
pub fn mount_disk(image: &Path, target: &Path, readonly: bool) -> Result<()> {
    let mount = open_disk(image, readonly)?;
    move_mount(
        &mount,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|error| Error::io("mount a volume on", target, error))
}

//! One layer of an image as a read-only mount that is attached nowhere yet.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use super::{RootLayer, sys};
use crate::error::{Error, Kind, Result};

/// First kernel that mounts EROFS from a file without a block device.
const FILE_BACKED: (u32, u32) = (6, 12);
/// How often another may take the loop device that we were told is free.
const ATTEMPTS: usize = 64;

/// This kernel, here and for us, mounts EROFS images: it has the file system
/// (loading a module for it if need be) and a way to read from a file.
pub fn probe_erofs() -> bool {
    fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
        && (reads_files()
            || File::options()
                .read(true)
                .write(true)
                .open("/dev/loop-control")
                .is_ok())
}

fn reads_files() -> bool {
    let uname = rustix::system::uname();
    release(&uname.release().to_string_lossy()).is_some_and(|found| found >= FILE_BACKED)
}

/// The first two numbers of a kernel's release.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Makes the detached mount of a layer, its owners shown through `namespace`.
pub(super) fn mount(layer: &RootLayer, namespace: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    let (mount, path) = match layer {
        RootLayer::Erofs(path) => (erofs(path)?, path),
        RootLayer::Directory(path) => (directory(path)?, path),
    };
    sys::set_mount(mount.as_fd(), namespace).map_err(|error| {
        let error = Error::io("set up the mount of the layer", path, error);
        if namespace.is_some() { error.hint("user namespaces need a kernel that has idmapped mounts for the layer's file system") } else { error }
    })?;
    Ok(mount)
}

fn directory(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).map_err(|error| Error::io("mount the layer", path, error))
}

fn erofs(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path).map_err(|error| Error::io("open the layer", path, error))?;
    let direct = if reads_files() {
        from_file(&file)
    } else {
        Err(io::ErrorKind::Unsupported.into())
    };
    // A kernel built without it, or a file system that it can't read that way
    // (tmpfs), is served by a loop device.
    let mount = direct.or_else(|first| {
        from_loop(&file).map_err(|second| match first.kind() {
            io::ErrorKind::Unsupported => second,
            _ => io::Error::new(
                second.kind(),
                format!("{second} (without a loop device: {first})"),
            ),
        })
    });
    mount.map_err(|error| {
        Error::new(
            Kind::System,
            format!(
                "cannot mount the layer {} as EROFS: {error}",
                path.display()
            ),
        )
        .hint("`isola doctor` tells whether this kernel mounts EROFS")
    })
}

/// Straight from the file. Its descriptor names it: a path could be replaced, or
/// be longer than the 255 bytes that an option may have.
pub(super) fn from_file(file: &File) -> io::Result<OwnedFd> {
    source(&format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Through a loop device that vanishes with the mount.
pub(super) fn from_loop(file: &File) -> io::Result<OwnedFd> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..ATTEMPTS {
        let path = format!("/dev/loop{}", sys::free_loop_device(&control)?);
        let attempt = File::open(&path).and_then(|device| {
            sys::configure_loop(&device, file)?;
            Ok(device)
        });
        match attempt {
            // Open until the mount holds it.
            Ok(device) => {
                let mount = source(&path);
                drop(device);
                return mount;
            }
            // Taken by another, or its node is not made yet.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ResourceBusy | io::ErrorKind::NotFound
                ) =>
            {
                last = error
            }
            Err(error) => return Err(error),
        }
        std::thread::yield_now();
    }
    Err(last)
}

fn source(path: &str) -> io::Result<OwnedFd> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", path)?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context).map_err(|error| explained(&context, error.into()))?;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?)
}

/// An error with what the kernel wrote about the mount that failed.
fn explained(context: &OwnedFd, error: io::Error) -> io::Error {
    let mut line = [0; 512];
    let mut said = String::new();
    while let Ok(length @ 1..) = rustix::io::read(context, &mut line) {
        // Lines begin with `e `, `w ` or `i `.
        said = String::from_utf8_lossy(&line[..length])
            .get(2..)
            .unwrap_or_default()
            .trim()
            .to_owned();
    }
    if said.is_empty() {
        error
    } else {
        io::Error::new(error.kind(), format!("{error} ({said})"))
    }
}

/// Owner and permission bits of the root folder of a mount or path.
pub(super) fn root_of(mount: BorrowedFd<'_>) -> io::Result<fs::Metadata> {
    fs::metadata(format!("/proc/self/fd/{}", mount.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (text, expected) in [
            ("6.12.0", Some((6, 12))),
            ("6.1.0-28-amd64", Some((6, 1))),
            ("10.0-rc1", Some((10, 0))),
            ("6", None),
            ("", None),
        ] {
            assert_eq!(release(text), expected, "{text}");
        }
    }
}

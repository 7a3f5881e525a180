//! Mounts that are made detached and then attached to an open target: no path
//! is looked up between the check of a target and its use.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use isola_proto::Failure;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::error::{failure, reason};

/// A new instance of a file system, not attached anywhere. Options without a
/// value are flags.
pub(crate) fn new_fs(
    kind: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Failure> {
    let fail =
        |what: String, error: io::Error| failure(format!("mount {kind}: {what}{}", reason(&error)));
    let context =
        fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| fail(String::new(), e.into()))?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, *key, *value),
            None => fsconfig_set_flag(&context, *key),
        }
        .map_err(|e| {
            fail(
                format!("option '{key}': {}", kernel_says(&context)),
                e.into(),
            )
        })?;
    }
    fsconfig_create(&context).map_err(|e| fail(kernel_says(&context), e.into()))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|e| fail(kernel_says(&context), e.into()))
}

/// The last line that the kernel wrote about a mount that is being put together.
fn kernel_says(context: &OwnedFd) -> String {
    let mut said = String::new();
    let mut line = [0; 512];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut line) {
        let text = String::from_utf8_lossy(&line[..length]);
        // Each line begins with its level: `e `, `w ` or `i `.
        said = format!("{}: ", text.get(2..).unwrap_or_default().trim());
    }
    said
}

/// A detached copy of the mount at `path` (what a bind mount is made of).
pub(crate) fn clone_tree(
    dir: BorrowedFd<'_>,
    path: &str,
    recursive: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    open_tree(dir, path, flags)
}

/// Attaches a detached mount to an open target.
pub(crate) fn attach(tree: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    move_mount(
        tree,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Splits mount(2) data (`size=1m,mode=755,noswap`).
pub(crate) fn options(data: &str) -> Vec<(&str, Option<&str>)> {
    data.split(',')
        .filter(|option| !option.is_empty())
        .map(|option| match option.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (option, None),
        })
        .collect()
}

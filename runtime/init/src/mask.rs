//! Paths that are hidden or made read-only. What lies over a hidden path comes
//! from the sandbox's own tmpfs, never from the image's /dev/null (CVE-2025-31133).

use std::os::fd::{AsFd, OwnedFd};

use isola_proto::Failure;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::error::{Setup, failure};
use crate::files::Scratch;
use crate::mountfd::{attach, clone_tree};
use crate::path::{Tree, file_type};
use crate::sys::{MountChange, mount_setattr};

/// Hides what is there; paths that are absent need no hiding.
pub(crate) fn hide(root: Tree<'_>, paths: &[String], scratch: &Scratch) -> Result<(), Failure> {
    for path in paths {
        let what = || format!("hide '{path}'");
        let Some(target) = existing(root, path)? else {
            continue;
        };
        let folder = file_type(&target).setup(what)? == FileType::Directory;
        attach(scratch.empty(folder)?, &target).setup(what)?;
    }
    Ok(())
}

/// Makes what is there read-only, with everything mounted below it.
pub(crate) fn make_readonly(root: Tree<'_>, paths: &[String]) -> Result<(), Failure> {
    for path in paths {
        let what = || format!("make '{path}' read-only");
        let Some(target) = existing(root, path)? else {
            continue;
        };
        let tree = clone_tree(target.as_fd(), "", true).setup(what)?;
        let change = MountChange {
            set: libc::MOUNT_ATTR_RDONLY,
            ..MountChange::default()
        };
        mount_setattr(tree.as_fd(), true, change).setup(what)?;
        attach(&tree, &target).setup(what)?;
    }
    Ok(())
}

fn existing(root: Tree<'_>, path: &str) -> Result<Option<OwnedFd>, Failure> {
    if crate::path::clean(path) == "/" {
        return Err(failure(format!(
            "path '{path}' can be neither hidden nor made read-only: it is the root"
        )));
    }
    match root.open(path, OFlags::PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error).setup(|| format!("open '{path}'")),
    }
}

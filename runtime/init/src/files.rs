//! Small files and empty places shown over the image's own, from a file system
//! of the sandbox's own that is never reachable by a path.

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};

use isola_proto::Failure;
use isola_proto::spec::TextFile;
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::error::{Setup, failure, reason};
use crate::mountfd::{attach, clone_tree, new_fs};
use crate::path::Tree;
use crate::root;
use crate::sys::{MountChange, mount_setattr};

/// A tmpfs under the root of the sandbox, from which single files and folders are bound.
#[derive(Debug)]
pub(crate) struct Scratch(OwnedFd);

impl Scratch {
    /// Makes it and stacks it on the current root: a bind needs its source to be
    /// attached somewhere (before Linux 6.15), and the sandbox's root is stacked over it.
    pub(crate) fn new(files: &[TextFile]) -> Result<Scratch, Failure> {
        let bytes: usize = files.iter().map(|file| file.content.len()).sum();
        let size = (bytes + (1 << 20)).to_string();
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let fs = new_fs(
            "tmpfs",
            &[("mode", Some("0755")), ("size", Some(&size))],
            attributes,
        )?;
        root::stack(fs.as_fd())?;
        let what = || "prepare empty places".to_owned();
        mkdirat(&fs, "folder", Mode::from_raw_mode(0o555)).setup(what)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&fs, "file", flags, Mode::from_raw_mode(0o444)).setup(what)?;
        Ok(Scratch(fs))
    }

    fn bind(&self, name: &str, readonly: bool) -> Result<OwnedFd, Failure> {
        let what = || "bind a private file".to_owned();
        let tree = clone_tree(self.0.as_fd(), name, false).setup(what)?;
        if readonly {
            let change = MountChange {
                set: libc::MOUNT_ATTR_RDONLY,
                ..MountChange::default()
            };
            mount_setattr(tree.as_fd(), false, change).setup(what)?;
        }
        Ok(tree)
    }

    /// An empty read-only folder, or file, to lie over what is to be hidden.
    pub(crate) fn empty(&self, folder: bool) -> Result<OwnedFd, Failure> {
        self.bind(if folder { "folder" } else { "file" }, true)
    }

    /// Puts the files over the tree. A file that is absent in a root that can't be
    /// written has no place to lie over and is left out.
    pub(crate) fn show(&self, root: Tree<'_>, files: &[TextFile]) -> Result<(), Failure> {
        for (number, file) in files.iter().enumerate() {
            let what = || format!("put '{}' in place", file.path);
            let name = format!("text{number}");
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let copy = openat(
                &self.0,
                &name,
                flags,
                Mode::from_raw_mode(file.mode & 0o777),
            )
            .setup(what)?;
            std::fs::File::from(copy)
                .write_all(file.content.as_bytes())
                .setup(what)?;
            let target = match root.make_file(&file.path) {
                Ok(target) => target,
                Err(error) if error.raw_os_error() == Some(Errno::ROFS.raw_os_error()) => continue,
                Err(error) => return Err(failure(format!("{}: {}", what(), reason(&error)))),
            };
            crate::mounts::refuse_procfs(&target, &file.path)?;
            attach(self.bind(&name, false)?, &target).setup(what)?;
        }
        Ok(())
    }
}

//! Small files and empty places shown over the image's own, from a file system
//! of the sandbox's own that is never reachable by a path.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

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

    /// Puts the files over the tree and gives them, open, with their numbers. A file
    /// that is absent in a root that can't be written has no place to lie over and is
    /// left out.
    pub(crate) fn show(
        &self,
        root: Tree<'_>,
        files: &[TextFile],
    ) -> Result<Vec<(u32, OwnedFd)>, Failure> {
        let mut shown = Vec::new();
        for (number, file) in (0..).zip(files) {
            let what = || format!("put '{}' in place", file.path);
            let name = format!("text{number}");
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
            let copy = openat(
                &self.0,
                &name,
                flags,
                Mode::from_raw_mode(file.mode & 0o777),
            )
            .setup(what)?;
            let mut copy = File::from(copy);
            copy.write_all(file.content.as_bytes()).setup(what)?;
            let target = match root.make_file(&file.path) {
                Ok(target) => target,
                Err(error) if error.raw_os_error() == Some(Errno::ROFS.raw_os_error()) => continue,
                Err(error) => return Err(failure(format!("{}: {}", what(), reason(&error)))),
            };
            crate::mounts::refuse_procfs(&target, &file.path)?;
            attach(self.bind(&name, false)?, &target).setup(what)?;
            shown.push((number, copy.into()));
        }
        Ok(shown)
    }
}

/// A small file of a sandbox that runs, held open by its maker: no path of the sandbox
/// has to be trusted to reach it.
#[derive(Debug)]
struct Text {
    path: String,
    /// What it was last given.
    content: String,
    file: File,
}

/// The small files of a sandbox that runs.
#[derive(Debug, Default)]
pub struct Texts(Vec<Text>);

impl Texts {
    /// One more, which was put in place as said.
    pub(crate) fn add(&mut self, said: &TextFile, file: OwnedFd) {
        self.0.push(Text {
            path: said.path.clone(),
            content: said.content.clone(),
            file: file.into(),
        });
    }

    /// Gives files another content, but not those that the workload has changed, nor
    /// those that were never put in place.
    ///
    /// # Errors
    /// The file system of the sandbox's own refused: the workload may have filled it.
    pub fn rewrite(&mut self, files: &[TextFile]) -> Result<(), Failure> {
        for said in files {
            let Some(text) = self.0.iter_mut().find(|text| text.path == said.path) else {
                continue;
            };
            let what = || format!("write '{}' again", said.path);
            if text.is_ours().setup(what)? && text.content != said.content {
                text.file
                    .write_all_at(said.content.as_bytes(), 0)
                    .and_then(|()| text.file.set_len(said.content.len() as u64))
                    .setup(what)?;
                text.content.clone_from(&said.content);
            }
        }
        Ok(())
    }
}

impl Text {
    fn is_ours(&self) -> std::io::Result<bool> {
        if self.file.metadata()?.len() != self.content.len() as u64 {
            return Ok(false);
        }
        let mut there = vec![0; self.content.len()];
        match self.file.read_exact_at(&mut there, 0) {
            Ok(()) => Ok(there == self.content.as_bytes()),
            // It was cut in the meantime.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_workload_changed_stays() {
        let said = |path: &str, content: &str| TextFile {
            path: path.to_owned(),
            content: content.to_owned(),
            mode: 0o644,
        };
        let mut texts = Texts::default();
        let files: Vec<File> = ["/a", "/b"]
            .map(|path| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(b"longer before").unwrap();
                texts.add(
                    &said(path, "longer before"),
                    file.try_clone().unwrap().into(),
                );
                file
            })
            .into();
        let is = |file: &File| {
            let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        files[1].write_all_at(b"L", 0).unwrap();
        let both = [said("/a", "short"), said("/b", "short"), said("/c", "")];
        texts.rewrite(&both).unwrap();
        assert_eq!(is(&files[0]), "short");
        assert_eq!(is(&files[1]), "Longer before");
        files[0].set_len(2).unwrap();
        texts.rewrite(&[said("/a", "again")]).unwrap();
        assert_eq!(is(&files[0]), "sh");
    }
}

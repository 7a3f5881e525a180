//! Removal of a tree that a container has filled with whatever it liked.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, openat2, renameat, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Folders that are open at once. What lies deeper is first moved up.
const DEPTH: usize = 32;
/// Every pass takes away at least [`DEPTH`] levels.
const PASSES: usize = 100_000;

/// Removes `path` and everything below it, in any depth, of any mode, and without
/// following a link. That there is nothing is fine.
///
/// # Errors
/// The first thing that can't be removed; a mount below `path` is one.
pub fn remove_tree(path: &Path) -> Result<()> {
    remove(path).map_err(|error| Error::io("remove", path, error))
}

fn remove(path: &Path) -> io::Result<()> {
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    // Another process may be removing the same tree.
    let Some(top) = open(CWD, path, ResolveFlags::empty())? else {
        return Ok(());
    };
    let mut walk = Walk {
        top: &top,
        moved: 0,
    };
    for _ in 0..PASSES {
        walk.empty(top.as_fd(), 0)?;
        match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // What was moved up, or passed over while the folder changed.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty))
}

struct Walk<'a> {
    top: &'a OwnedFd,
    /// Folders that were moved up so far; makes their names.
    moved: u64,
}

impl Walk<'_> {
    /// Empties an open folder.
    fn empty(&mut self, folder: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        let mut entries = Dir::read_from(folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let is_folder = match entry.file_type() {
                FileType::Directory => true,
                FileType::Unknown => self.unlink(folder, name, AtFlags::empty()).is_err(),
                _ => {
                    self.unlink(folder, name, AtFlags::empty())?;
                    false
                }
            };
            if is_folder {
                self.remove_folder(folder, name, depth)?;
            }
        }
        Ok(())
    }

    fn remove_folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        depth: usize,
    ) -> io::Result<()> {
        if depth >= DEPTH {
            return self.move_up(parent, name);
        }
        if unlinkat(parent, name, AtFlags::REMOVEDIR).is_ok() {
            return Ok(());
        }
        let Some(folder) = open(parent, name, ResolveFlags::NO_XDEV)? else {
            return Ok(());
        };
        self.empty(folder.as_fd(), depth + 1)?;
        match self.unlink(parent, name, AtFlags::REMOVEDIR) {
            // The next pass meets it again.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other,
        }
    }

    /// Makes a deep folder a shallow one.
    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let new = CString::new(format!(".isola-{}", self.moved))?;
            match renameat(parent, name, self.top, &new) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // Such a name is in the tree already.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// unlinkat(2), also out of a folder that its owner made read-only.
    fn unlink(&self, parent: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> io::Result<()> {
        let result = match unlinkat(parent, name, flags) {
            Err(Errno::ACCESS) => {
                fchmod(parent, Mode::RWXU).and_then(|()| unlinkat(parent, name, flags))
            }
            other => other,
        };
        match result {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a folder, not through a link, also one that its owner may not read; `None`
/// when it is gone. What is mounted there is another's: it is an error, and stays as
/// it is.
fn open<P: rustix::path::Arg + Copy>(
    parent: BorrowedFd<'_>,
    name: P,
    resolve: ResolveFlags,
) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |how| openat2(parent, name, how | flags, Mode::empty(), resolve);
    match open(OFlags::RDONLY) {
        Err(Errno::ACCESS) => {
            let handle = open(OFlags::PATH)?;
            rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
            Ok(Some(open(OFlags::RDONLY)?))
        }
        Err(Errno::NOENT) => Ok(None),
        other => Ok(Some(other?)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn odd_modes_links_and_special_files() {
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let tree = base.path().join("tree");
        fs::create_dir_all(tree.join("a/closed/b")).unwrap();
        fs::write(tree.join("a/closed/b/file"), "x").unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        symlink("../../outside", tree.join("a/closed/link")).unwrap();
        rustix::fs::mkfifoat(CWD, tree.join("fifo"), Mode::RWXU).unwrap();
        fs::write(tree.join(std::ffi::OsString::from("\u{1}\n odd")), "x").unwrap();
        fs::set_permissions(tree.join("a/closed"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_link_and_a_file_go_themselves() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("folder")).unwrap();
        let link = base.path().join("link");
        symlink(base.path().join("folder"), &link).unwrap();
        remove_tree(&link).unwrap();
        assert!(base.path().join("folder").is_dir());
        assert!(link.symlink_metadata().is_err());
    }

    #[test]
    fn what_is_mounted_below_is_not_touched() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("SKIPPED: mounting needs root");
        }
        let base = tempfile::tempdir().unwrap();
        let (tree, other) = (base.path().join("tree"), base.path().join("other"));
        fs::create_dir_all(tree.join("mounted")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "x").unwrap();
        let from = other.clone();
        // A mount namespace of its own ends with the thread.
        let removal = std::thread::spawn(move || {
            crate::rootfs::enter_private_mounts().unwrap();
            rustix::mount::mount_bind(&from, tree.join("mounted")).unwrap();
            remove_tree(&tree).is_err()
        });
        assert!(removal.join().unwrap());
        assert!(other.join("kept").exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path() {
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut folder: OwnedFd = fs::File::open(&tree).unwrap().into();
        for _ in 0..1500 {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            folder = rustix::fs::openat(&folder, "d", flags, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}

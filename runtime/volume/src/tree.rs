//! Folders by descriptor: nothing here follows a symbolic link, or trusts a name to
//! stay what it was.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, openat, openat2, renameat, unlinkat,
};
use rustix::io::Errno;

/// Folders that are open at once while a tree is removed; what lies deeper is moved up.
const DEPTH: usize = 32;
/// Every pass takes away at least [`DEPTH`] levels.
const PASSES: usize = 100_000;
/// As often as openat2 may say that the tree changed below it.
const RETRIES: u32 = 128;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the folder `name` in an open folder, for reading.
pub(crate) fn open_folder(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    openat(parent, name, FOLDER, Mode::empty())
}

/// A descriptor for reading of the folder that `folder` (O_PATH, too) is.
pub(crate) fn reopen(folder: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    open_folder(folder, c".")
}

/// Opens whatever is at a path of several components below `root`, none of which may
/// be a link or lead out.
pub(crate) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let mut tries = 0;
    loop {
        match openat2(
            root,
            OsStr::from_bytes(path),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        ) {
            Err(Errno::AGAIN) if tries < RETRIES => tries += 1,
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The names in an open folder but for `.` and `..`, sorted.
pub(crate) fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether an open folder has no name in it.
pub(crate) fn is_empty(folder: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in Dir::read_from(folder)? {
        if !is_dots(entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_dots(name: &CStr) -> bool {
    name == c"." || name == c".."
}

/// The way to an open file by its number, for calls that take a path alone.
pub(crate) fn by_number(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Removes `name` in an open folder and everything below it, in any depth and of any
/// mode. That there is nothing is fine.
///
/// # Errors
/// The first thing that can't be removed; a mount is one.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let top = open_folder(parent, name)?;
    let mut removal = Removal {
        top: &top,
        moved: 0,
    };
    for _ in 0..PASSES {
        removal.empty(top.as_fd(), 0)?;
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // What was moved up, or passed over while the folder changed.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::DirectoryNotEmpty.into())
}

struct Removal<'a> {
    top: &'a OwnedFd,
    /// Folders that were moved up so far; makes their names.
    moved: u64,
}

impl Removal<'_> {
    fn empty(&mut self, folder: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        let mut entries = Dir::read_from(folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            if entry.file_type() != FileType::Directory {
                match unlink(folder, name, AtFlags::empty()) {
                    // Its type was not known, or has changed.
                    Err(Errno::ISDIR | Errno::PERM) => {}
                    other => {
                        other?;
                        continue;
                    }
                }
            }
            self.folder(folder, name, depth)?;
        }
        Ok(())
    }

    fn folder(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
        if depth >= DEPTH {
            return self.move_up(parent, name);
        }
        if unlinkat(parent, name, AtFlags::REMOVEDIR).is_ok() {
            return Ok(());
        }
        let folder = open_folder(parent, name)?;
        self.empty(folder.as_fd(), depth + 1)?;
        match unlink(parent, name, AtFlags::REMOVEDIR) {
            // The next pass meets it again.
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Makes a deep folder a shallow one.
    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let new = CString::new(format!(".isola-{}", self.moved))?;
            match renameat(parent, name, self.top, &new) {
                Ok(()) => return Ok(()),
                // Such a name is in the tree already.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// unlinkat(2), also out of a folder that its owner made read-only.
fn unlink(parent: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> rustix::io::Result<()> {
    let result = match unlinkat(parent, name, flags) {
        Err(Errno::ACCESS) => {
            fchmod(parent, Mode::RWXU).and_then(|()| unlinkat(parent, name, flags))
        }
        other => other,
    };
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn deep_trees_are_removed_and_links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let kept = base.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        fs::create_dir(base.path().join("tree")).unwrap();
        symlink(&kept, base.path().join("tree/link")).unwrap();
        let mut folder: OwnedFd = fs::File::open(base.path().join("tree")).unwrap().into();
        for _ in 0..1200 {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            folder = open_folder(folder.as_fd(), c"d").unwrap();
        }
        let parent = fs::File::open(base.path()).unwrap();
        remove(parent.as_fd(), c"tree").unwrap();
        remove(parent.as_fd(), c"tree").unwrap();
        assert!(!base.path().join("tree").exists() && kept.join("file").exists());
    }

    #[test]
    fn no_link_is_on_the_way() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("real")).unwrap();
        symlink("real", base.path().join("link")).unwrap();
        let root = fs::File::open(base.path()).unwrap();
        let open = |path: &[u8]| {
            open_beneath(root.as_fd(), path, OFlags::PATH, ResolveFlags::NO_SYMLINKS).map(drop)
        };
        assert_eq!(open(b"real"), Ok(()));
        assert_eq!(open(b""), Ok(()));
        assert_eq!(open(b"link"), Err(Errno::LOOP));
        assert_eq!(open(b"../x"), Err(Errno::XDEV));
        assert!(!is_empty(root.as_fd()).unwrap());
    }
}

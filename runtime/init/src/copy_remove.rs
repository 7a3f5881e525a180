//! Files of the sandbox that are removed, as `rm -rf` would. The process is inside the
//! sandbox's root already; links lead where they lead there, but the last component of
//! a path and what is below it are removed themselves.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use isola_proto::Failure;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::copy::Problems;
use crate::error::reason;
use crate::path::{Tree, clean, split};
use crate::root;

/// Removes files and folders. What is not there is gone already.
pub(crate) fn remove(paths: &[String], problems: &mut Problems) -> Result<(), Failure> {
    let root = root::open_current()?;
    for path in paths {
        if let Err(error) = one(Tree(root.as_fd()), path) {
            problems.tell(format!("remove '{path}': {}", reason(&error)));
        }
    }
    Ok(())
}

fn one(tree: Tree<'_>, path: &str) -> io::Result<()> {
    let path = clean(path);
    let (parent, name) = split(&path);
    if name == "." {
        let message = "the root stays";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    match tree.open(parent, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(parent) => take(parent.as_fd(), OsStr::new(name)),
    }
}

fn take(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(parent, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    for name in names {
        take(folder.as_fd(), OsStr::from_bytes(&name))?;
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

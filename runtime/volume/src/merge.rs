//! The staging folder moved out into the volume, name by name. Done again after a
//! crash, it goes on where it was.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, RenameFlags, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::tree::{names, open_folder};

/// Moves what is in `from` into `to`, on the same file system. What is in the way of
/// something that is no folder is replaced if `replace`, else stays; folders are
/// merged and get the attributes of the new ones; where a folder meets something
/// else, what is there stays. `from` is left with what was not moved.
pub(crate) fn merge(from: BorrowedFd<'_>, to: BorrowedFd<'_>, replace: bool) -> io::Result<()> {
    for name in names(from)? {
        match renameat_with(from, &name, to, &name, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match (is_folder(from, &name)?, is_folder(to, &name)?) {
            (Some(true), Some(true)) => {
                let (source, target) = (open_folder(from, &name)?, open_folder(to, &name)?);
                // Before what is in it goes: that changes its times.
                let attributes = Attributes::read(source.as_fd())?;
                merge(source.as_fd(), target.as_fd(), replace)?;
                attributes.apply(target.as_fd())?;
                match unlinkat(from, &name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            (Some(false), Some(false)) if replace => renameat(from, &name, to, &name)?,
            _ => {}
        }
    }
    Ok(())
}

/// The first path at which a folder and something else would meet.
pub(crate) fn clash(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    path: &str,
) -> io::Result<Option<String>> {
    for name in names(from)? {
        let here = format!("{path}{}", crate::error::shown(name.as_bytes()));
        match (is_folder(from, &name)?, is_folder(to, &name)?) {
            (Some(true), Some(true)) => {
                let (source, target) = (open_folder(from, &name)?, open_folder(to, &name)?);
                let found = clash(source.as_fd(), target.as_fd(), &format!("{here}/"))?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            (Some(new), Some(old)) if new != old => return Ok(Some(here)),
            _ => {}
        }
    }
    Ok(None)
}

fn is_folder(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<bool>> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(
            FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
        )),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn write(base: &Path, list: &[(&str, &str)]) {
        for (path, text) in list {
            let path = base.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn trees_are_merged_and_nothing_is_lost() {
        for (replace, expected) in [(true, "new"), (false, "old")] {
            let base = tempfile::tempdir().unwrap();
            let (from, to) = (base.path().join("from"), base.path().join("to"));
            write(
                &from,
                &[
                    ("a", "new"),
                    ("d/x", "new"),
                    ("d/e/z", "new"),
                    ("c/f", "new"),
                ],
            );
            write(&to, &[("d/x", "old"), ("d/y", "old"), ("c", "old")]);
            let open = |path| fs::File::open(path).unwrap();
            let (source, target) = (open(&from), open(&to));
            let met = clash(source.as_fd(), target.as_fd(), "").unwrap();
            assert_eq!(met.as_deref(), Some("c"));
            merge(source.as_fd(), target.as_fd(), replace).unwrap();
            let read = |path: &str| fs::read_to_string(to.join(path)).unwrap();
            assert_eq!(read("a"), "new");
            assert_eq!(read("d/x"), expected);
            assert_eq!(read("d/y"), "old");
            assert_eq!(read("d/e/z"), "new");
            assert_eq!(read("c"), "old");
            // Again, as after a crash.
            merge(source.as_fd(), target.as_fd(), replace).unwrap();
        }
    }
}

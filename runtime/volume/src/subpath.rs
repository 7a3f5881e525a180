//! A file or folder inside a volume (`volume-subpath`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::tree::{by_number, open_beneath};

/// What was found, held by its descriptor: whatever becomes of the names in the
/// volume, the same file or folder is bind-mounted.
#[derive(Debug)]
pub struct Subpath {
    fd: OwnedFd,
    folder: bool,
}

impl Subpath {
    /// A path for mount(2) and open_tree(2) in this process, while this lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(by_number(&self.fd))
    }

    /// It is a folder, not a file.
    pub fn is_folder(&self) -> bool {
        self.folder
    }
}

impl AsFd for Subpath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Finds `path`, relative, below the root of a volume's data. Symbolic links count
/// as long as they stay inside (openat2(2), RESOLVE_BENEATH).
///
/// # Errors
/// Absolute, `..`, a link that leads out, nothing there, or neither file nor folder.
pub fn subpath(root: BorrowedFd<'_>, path: &str) -> Result<Subpath> {
    let invalid = |why: &str| Error::new(Kind::Invalid, format!("volume-subpath={path}: {why}"));
    let components = Path::new(path).components();
    if path.is_empty() || path.contains('\0') {
        return Err(invalid("not a path"));
    }
    for component in components {
        match component {
            Component::Normal(_) | Component::CurDir => {}
            Component::ParentDir => return Err(invalid("it has '..' in it")),
            _ => return Err(invalid("it is not relative to the volume")),
        }
    }
    let found = open_beneath(root, path.as_bytes(), OFlags::PATH, ResolveFlags::empty()).map_err(
        |error| match error {
            Errno::NOENT | Errno::NOTDIR => Error::new(
                Kind::NoSuch,
                format!("volume-subpath={path}: the volume has no such file or folder"),
            )
            .hint("it is made by who writes the volume first, not by the mount"),
            Errno::XDEV => invalid("a link on the way leads out of the volume"),
            Errno::LOOP => invalid("the links on the way lead in a circle"),
            error => Error::system(format!("open volume-subpath={path}"), error),
        },
    )?;
    let stat = fstat(&found)
        .map_err(|error| Error::system(format!("read volume-subpath={path}"), error))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(Subpath {
            fd: found,
            folder: true,
        }),
        FileType::RegularFile => Ok(Subpath {
            fd: found,
            folder: false,
        }),
        _ => Err(invalid("neither a file nor a folder")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn paths_stay_inside_the_volume() {
        let base = tempfile::tempdir().unwrap();
        let data = base.path().join("_data");
        fs::create_dir_all(data.join("a/b")).unwrap();
        fs::write(data.join("a/file"), "x").unwrap();
        fs::write(base.path().join("secret"), "x").unwrap();
        symlink("a/b", data.join("in")).unwrap();
        symlink("../secret", data.join("out")).unwrap();
        symlink("/etc", data.join("abs")).unwrap();
        symlink("/proc/self/root/etc", data.join("proc")).unwrap();
        symlink("ring", data.join("ring")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            data.join("pipe"),
            FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let root = fs::File::open(&data).unwrap();
        for (path, folder) in [
            ("a", true),
            ("a/b", true),
            ("./a/file", false),
            ("in", true),
        ] {
            let found = subpath(root.as_fd(), path).unwrap();
            assert_eq!(found.is_folder(), folder, "{path}");
            let there = fs::metadata(data.join(path)).unwrap().ino();
            assert_eq!(fs::metadata(found.path()).unwrap().ino(), there, "{path}");
        }
        for (path, kind, why) in [
            ("", Kind::Invalid, "not a path"),
            ("/a", Kind::Invalid, "not relative"),
            ("a/../../secret", Kind::Invalid, "'..'"),
            ("out", Kind::Invalid, "leads out"),
            ("abs/passwd", Kind::Invalid, "leads out"),
            ("proc", Kind::Invalid, "leads out"),
            ("ring", Kind::Invalid, "circle"),
            ("pipe", Kind::Invalid, "neither"),
            ("nosuch", Kind::NoSuch, "no such"),
            ("a/file/x", Kind::NoSuch, "no such"),
        ] {
            let error = subpath(root.as_fd(), path).unwrap_err();
            assert_eq!(error.kind, kind, "{path}: {error}");
            assert!(error.message.contains(why), "{path}: {error}");
        }
    }
}

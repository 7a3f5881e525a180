//! Paths inside a root that nobody vouches for. Every look-up goes through
//! openat2(2), can't leave the root, and follows no link of procfs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, mkdirat, openat2, readlinkat,
    statx,
};
use rustix::io::Errno;

/// As often as openat2 may say that the tree changed below it.
const RETRIES: u32 = 128;
/// PROC_SUPER_MAGIC of linux/magic.h.
pub(crate) const PROCFS: i64 = 0x9fa0;
/// As many symbolic links as the kernel follows in one look-up.
const LINKS: u32 = 40;

/// A folder that is the root of all look-ups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a>(pub(crate) BorrowedFd<'a>);

fn open_beneath(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let mut tries = 0;
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN) if tries < RETRIES => tries += 1,
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

impl Tree<'_> {
    /// Opens an existing path; symbolic links are followed inside the root.
    pub(crate) fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        open_beneath(
            self.0,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Opens an existing path on which no component is a symbolic link (ELOOP).
    pub(crate) fn open_real(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        open_beneath(
            self.0,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
        )
    }

    /// Opens a folder, making it and its parents when absent (mode 0755).
    pub(crate) fn make_dir(&self, path: &str) -> io::Result<OwnedFd> {
        self.make_dir_within(&clean(path), LINKS)
    }

    fn make_dir_within(&self, path: &str, links: u32) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let (parent_path, name) = split(path);
        let parent = self.make_dir_within(parent_path, links)?;
        if magic(&parent)? == PROCFS {
            // Nothing is made there, and what its links say is no path.
            return Err(Errno::NOENT.into());
        }
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            // A link that leads nowhere: what it points to is made.
            Err(Errno::EXIST) => {
                let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
                let target = link_target(parent.as_fd(), parent_path, name)?;
                return self.make_dir_within(&target, links);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(open_beneath(
            parent.as_fd(),
            name,
            OFlags::PATH | OFlags::DIRECTORY,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )?)
    }

    /// Opens (O_PATH) whatever is at `path`; when nothing is there, makes an empty
    /// file (mode 0644) in a folder that is made too. A link to nothing gets its
    /// target made, inside the root.
    pub(crate) fn make_file(&self, path: &str) -> io::Result<OwnedFd> {
        self.make_file_within(&clean(path), LINKS)
    }

    fn make_file_within(&self, path: &str, links: u32) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let (parent_path, name) = split(path);
        let parent = self.make_dir(parent_path)?;
        if magic(&parent)? == PROCFS {
            return Err(Errno::NOENT.into());
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match open_beneath(
            parent.as_fd(),
            name,
            flags,
            Mode::from_raw_mode(0o644),
            resolve,
        ) {
            Err(Errno::EXIST) => {
                let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
                let target = link_target(parent.as_fd(), parent_path, name)?;
                return self.make_file_within(&target, links);
            }
            other => other?,
        };
        Ok(open_beneath(
            parent.as_fd(),
            name,
            OFlags::PATH,
            Mode::empty(),
            resolve,
        )?)
    }
}

/// Where the link `name` in an open folder points to, as a cleaned path.
fn link_target(parent: BorrowedFd<'_>, parent_path: &str, name: &str) -> io::Result<String> {
    let target = readlinkat(parent, name, Vec::new())?
        .into_string()
        .map_err(|_| Errno::ILSEQ)?;
    Ok(if target.starts_with('/') {
        clean(&target)
    } else {
        clean(&format!("{parent_path}/{target}"))
    })
}

/// Removes `.`, `..` and doubled slashes by the text alone; the result begins with
/// a slash and does not end with one (but for the root itself).
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Parent and last component of a cleaned path.
pub(crate) fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some((parent, name)) if !name.is_empty() => (parent, name),
        _ => ("", "."),
    }
}

/// What an open descriptor is: type, device, mount.
pub(crate) fn stat(fd: impl AsFd) -> rustix::io::Result<Statx> {
    statx(
        fd,
        "",
        AtFlags::EMPTY_PATH,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    )
}

/// The type of an open file.
pub(crate) fn file_type(fd: impl AsFd) -> rustix::io::Result<FileType> {
    Ok(FileType::from_raw_mode(stat(fd)?.stx_mode.into()))
}

/// The magic number of the file system that an open file is on (statfs(2)).
pub(crate) fn magic(fd: impl AsFd) -> rustix::io::Result<i64> {
    #[allow(clippy::unnecessary_cast)] // the type differs between C libraries
    Ok(rustix::fs::fstatfs(fd)?.f_type as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::fs::File::open(dir.path()).unwrap().into();
        (dir, fd)
    }

    #[test]
    fn text_is_cleaned() {
        for (given, cleaned) in [
            ("", "/"),
            ("/", "/"),
            ("a//b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("../../x", "/x"),
            ("/..", "/"),
        ] {
            assert_eq!(clean(given), cleaned);
        }
        assert_eq!(split("/a/b"), ("/a", "b"));
        assert_eq!(split("/b"), ("", "b"));
    }

    #[test]
    fn links_stay_inside() {
        let (dir, fd) = tree();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("abs")).unwrap();
        symlink("../../../../..", dir.path().join("up")).unwrap();
        Tree(fd.as_fd()).make_dir("/abs/new").unwrap();
        Tree(fd.as_fd()).make_dir("/up/etc/new").unwrap();
        Tree(fd.as_fd()).make_file("/abs/file").unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(dir.path().join("etc/new").is_dir());
        let inside = dir.path().join(outside.path().strip_prefix("/").unwrap());
        assert!(inside.join("new").is_dir() && inside.join("file").is_file());
    }

    #[test]
    fn a_ring_of_links_ends() {
        let (dir, fd) = tree();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert!(Tree(fd.as_fd()).make_dir("/a/x").is_err());
        assert!(Tree(fd.as_fd()).make_file("/a").is_err());
        symlink("/run/made", dir.path().join("dangling")).unwrap();
        Tree(fd.as_fd()).make_file("/dangling").unwrap();
        assert!(dir.path().join("run/made").is_file());
    }

    #[test]
    fn links_of_procfs_are_not_followed() {
        let root = std::fs::File::open("/").unwrap();
        let here = std::fs::File::open("/tmp").unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&here));
        assert_eq!(
            Tree(root.as_fd()).open(&path, OFlags::PATH).unwrap_err(),
            Errno::LOOP
        );
    }
}

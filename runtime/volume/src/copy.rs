//! A tree copied into another folder as it is: owners, modes, times, extended
//! attributes, links of both kinds, nodes, holes.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat, ftruncate, ioctl_ficlone,
    linkat, mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat,
};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::tree::{names, open_beneath, open_folder};

/// Deepest nesting of folders; each level holds two descriptors.
const DEEPEST: usize = 256;
/// Data is read in pieces of this size; one of zeros becomes a hole.
pub(crate) const PIECE: usize = 64 * 1024;

/// A copy under way.
pub(crate) struct Copy<'a> {
    /// The folder that is filled.
    into: BorrowedFd<'a>,
    /// Where the first of a file's several names was put, as a path below `into`.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

/// Copies what is in `from` into the empty folder `into`, and then the attributes of
/// `from` itself. Sockets are left out: they mean nothing without their server.
///
/// # Errors
/// The first thing that can't be read or written, with its path in front.
pub(crate) fn copy_tree(from: BorrowedFd<'_>, into: BorrowedFd<'_>) -> io::Result<()> {
    let mut copy = Copy {
        into,
        links: HashMap::new(),
        buffer: vec![0; PIECE],
    };
    copy.folder(from, into, b"", 0)?;
    Attributes::read(from)?.apply(into)
}

impl Copy<'_> {
    fn folder(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!(
                "'{}': nested too deeply",
                crate::error::shown(path)
            )));
        }
        for name in names(from)? {
            let mut path = path.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            self.entry(from, to, &name, &path, depth).map_err(|error| {
                // The innermost says where.
                if error.get_ref().is_some() {
                    return error;
                }
                let shown = crate::error::shown(&path);
                io::Error::new(
                    error.kind(),
                    format!("'{shown}': {}", crate::error::reason(&error)),
                )
            })?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            return Ok(());
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&id) {
                return link(self.into, first, to, name);
            }
            self.links.insert(id, path.to_vec());
        }
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU)?;
                let (source, target) = (open_folder(from, name)?, open_folder(to, name)?);
                self.folder(source.as_fd(), target.as_fd(), path, depth + 1)?;
                Attributes::read(source.as_fd())?.apply(target.as_fd())
            }
            FileType::RegularFile => self.file(from, to, name),
            FileType::Symlink => {
                let target = readlinkat(from, name, Vec::new())?;
                symlinkat(&target, to, name)?;
                dress(from, to, name, &stat)
            }
            _ => {
                mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
                dress(from, to, name, &stat)
            }
        }
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        // NONBLOCK: should it have become a pipe since, it is not waited for.
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = File::from(openat(from, name, read, Mode::empty())?);
        let target = create(to, name)?;
        let attributes = Attributes::read(source.as_fd())?;
        if ioctl_ficlone(&target, &source).is_err() {
            self.data(&source, &target)?;
        }
        attributes.apply(target.as_fd())
    }

    fn data(&mut self, source: &File, target: &File) -> io::Result<()> {
        let mut at = 0;
        loop {
            let start = match seek(source, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            at = seek(source, SeekFrom::Hole(start))?;
            self.extent(source, target, start, at)?;
        }
        Ok(ftruncate(target, source.metadata()?.len())?)
    }

    fn extent(&mut self, from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let length = from.read_at(&mut self.buffer[..most], at)?;
            if length == 0 {
                return Ok(());
            }
            let data = &self.buffer[..length];
            if !is_zero(data) {
                to.write_all_at(data, at)?;
            }
            at += length as u64;
        }
        Ok(())
    }
}

/// Whether a piece need not be written.
pub(crate) fn is_zero(data: &[u8]) -> bool {
    data.iter().all(|byte| *byte == 0)
}

/// A new file, for its owner alone until it gets its attributes.
pub(crate) fn create(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(openat(folder, name, flags, mode)?.into())
}

/// Gives one more name to the file at `first` below `root`.
pub(crate) fn link(
    root: BorrowedFd<'_>,
    first: &[u8],
    to: BorrowedFd<'_>,
    name: &CStr,
) -> io::Result<()> {
    let at = first.iter().rposition(|byte| *byte == b'/');
    let (parent, last) = match at {
        Some(at) => (&first[..at], &first[at + 1..]),
        None => (&first[..0], first),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let parent = open_beneath(root, parent, flags, ResolveFlags::NO_SYMLINKS)?;
    let last = CString::new(last)?;
    Ok(linkat(&parent, &last, to, name, AtFlags::empty())?)
}

/// Opens a thing that is not to be read, such as a link itself.
pub(crate) fn open_path(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

fn dress(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (source, target) = (open_path(from, name)?, open_path(to, name)?);
    Attributes::with(stat, source.as_fd())?.apply(target.as_fd())
}

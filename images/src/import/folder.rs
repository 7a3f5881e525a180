//! A folder as a tar stream.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::header::Segment;
use crate::layer::tar::EntryKind;
use crate::layer::write::{NewEntry, TarWriter};

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

struct Packer<W> {
    tar: TarWriter<W>,
    /// The file system that is packed.
    device: u64,
    /// Files with several names, by inode, and the name they were packed under.
    linked: HashMap<u64, Vec<u8>>,
}

/// Writes all that is in the folder `root`, in the order of names, so that the
/// same folder always gives the same stream.
pub(super) fn pack(root: &Path, out: impl Write) -> Result<()> {
    let meta = fs::metadata(root).map_err(|e| Error::io("read", root, e))?;
    if !meta.is_dir() {
        let source = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(Error::io("import", root, source));
    }
    let out = io::BufWriter::with_capacity(1 << 20, out);
    let mut packer = Packer {
        tar: TarWriter::new(out),
        device: meta.dev(),
        linked: HashMap::new(),
    };
    packer.put(root, b".", &meta)?;
    let mut todo = vec![(root.to_owned(), Vec::new())];
    while let Some((dir, prefix)) = todo.pop() {
        let mut below = Vec::new();
        for name in names(&dir)? {
            let path = dir.join(&name);
            let inside = [&prefix[..], name.as_bytes()].concat();
            let meta = fs::symlink_metadata(&path).map_err(|e| Error::io("read", &path, e))?;
            packer.put(&path, &inside, &meta)?;
            // A mount point is packed as an empty folder.
            if meta.is_dir() && meta.dev() == packer.device {
                below.push((path, [&inside[..], b"/"].concat()));
            }
        }
        todo.extend(below.into_iter().rev());
    }
    packer
        .tar
        .finish()
        .map_err(|e| Error::io("read", root, e))?;
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<OsString>> {
    let read = |e| Error::io("read", dir, e);
    let entries = fs::read_dir(dir).map_err(read)?;
    let mut names = entries
        .map(|entry| entry.map(|e| e.file_name()))
        .collect::<io::Result<Vec<_>>>();
    if let Ok(names) = &mut names {
        names.sort_unstable();
    }
    names.map_err(read)
}

impl<W: Write> Packer<W> {
    fn put(&mut self, path: &Path, inside: &[u8], meta: &Metadata) -> Result<()> {
        let Some(kind) = kind(meta) else {
            return Ok(());
        };
        let read = |e| Error::io("read", path, e);
        let xattrs = xattrs(path).map_err(read)?;
        let mut entry = NewEntry {
            path: inside,
            kind,
            link: b"",
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: (meta.mtime(), meta.mtime_nsec() as u32),
            device: (0, 0),
            xattrs: &xattrs,
        };
        if kind != EntryKind::Dir && meta.nlink() > 1 {
            if let Some(first) = self.linked.get(&meta.ino()) {
                let link = NewEntry {
                    kind: EntryKind::HardLink,
                    link: first,
                    xattrs: &[],
                    ..entry
                };
                return self.tar.entry(&link).map_err(read);
            }
            self.linked.insert(meta.ino(), inside.to_vec());
        }
        match kind {
            EntryKind::File => self.file(path, &entry, meta).map_err(read),
            EntryKind::Symlink => {
                let target = fs::read_link(path).map_err(read)?;
                entry.link = target.as_os_str().as_bytes();
                self.tar.entry(&entry).map_err(read)
            }
            EntryKind::Char | EntryKind::Block => {
                entry.device = (
                    rustix::fs::major(meta.rdev()),
                    rustix::fs::minor(meta.rdev()),
                );
                self.tar.entry(&entry).map_err(read)
            }
            _ => self.tar.entry(&entry).map_err(read),
        }
    }

    fn file(&mut self, path: &Path, entry: &NewEntry<'_>, meta: &Metadata) -> io::Result<()> {
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let mut file = File::options()
            .read(true)
            .custom_flags(flags as i32)
            .open(path)?;
        let now = file.metadata()?;
        if !now.is_file() || now.ino() != meta.ino() {
            return Err(io::Error::other("it was replaced while it was read"));
        }
        let size = now.len();
        if now.blocks() * 512 >= size {
            return self.tar.file(entry, size, &mut file);
        }
        let segments = segments(&file, size)?;
        let mut read = |segment: &Segment| -> io::Result<Box<dyn Read>> {
            let piece = file.try_clone()?;
            seek(&piece, SeekFrom::Start(segment.offset))?;
            Ok(Box::new(piece))
        };
        self.tar.sparse(entry, size, &segments, &mut read)
    }
}

/// Where a file has data.
fn segments(file: &File, size: u64) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match seek(file, SeekFrom::Data(at)) {
            Ok(offset) => offset,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = seek(file, SeekFrom::Hole(offset))?.min(size);
        if end > offset {
            segments.push(Segment {
                offset,
                len: end - offset,
            });
        }
        at = end.max(offset + 1);
    }
    Ok(segments)
}

/// `None` for sockets, which mean nothing without who listens.
fn kind(meta: &Metadata) -> Option<EntryKind> {
    let kind = meta.file_type();
    Some(match kind {
        _ if kind.is_file() => EntryKind::File,
        _ if kind.is_dir() => EntryKind::Dir,
        _ if kind.is_symlink() => EntryKind::Symlink,
        _ if kind.is_char_device() => EntryKind::Char,
        _ if kind.is_block_device() => EntryKind::Block,
        _ if kind.is_fifo() => EntryKind::Fifo,
        _ => return None,
    })
}

/// The attributes that an image can hold.
pub(crate) fn xattrs(path: &Path) -> io::Result<Xattrs> {
    let mut list = Vec::with_capacity(4096);
    match rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            // XATTR_LIST_MAX
            list.reserve(65536);
            rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut list))?;
        }
        Err(e) => return Err(e.into()),
    }
    let mut xattrs = Vec::new();
    for name in list
        .split(|&b| b == 0)
        .filter(|name| crate::erofs::can_hold(name))
    {
        let mut value = Vec::with_capacity(65536);
        let key = std::ffi::OsStr::from_bytes(name);
        rustix::fs::lgetxattr(path, key, rustix::buffer::spare_capacity(&mut value))?;
        value.shrink_to_fit();
        xattrs.push((name.to_vec(), value));
    }
    xattrs.sort();
    Ok(xattrs)
}

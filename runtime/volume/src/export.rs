//! A volume's files as a tar archive: GNU headers, with pax extensions where they
//! don't suffice (long names, extended attributes, fractions of seconds).

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, fstat, major, minor, openat, readlinkat, seek,
    statat,
};
use rustix::io::Errno;
use tar::{Builder, EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::attributes::Attributes;
use crate::copy::open_path;
use crate::tree::names;

/// Deepest nesting of folders; each level holds a descriptor.
const DEEPEST: usize = 512;

struct Export<W: Write> {
    archive: Builder<W>,
    /// First name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

/// Writes everything in the open folder `data`; its root is `./`. What is removed
/// meanwhile is left out, what becomes shorter is filled with zeros.
///
/// # Errors
/// What can't be read, with its path; or those of `out`.
pub(crate) fn export(data: BorrowedFd<'_>, out: impl Write) -> io::Result<()> {
    let mut export = Export {
        archive: Builder::new(out),
        links: HashMap::new(),
    };
    let mut root = Record::new(b"./".to_vec(), &fstat(data)?, data)?;
    root.header.set_entry_type(EntryType::Directory);
    root.write(&mut export.archive, io::empty())?;
    export.folder(data, b"", 0)?;
    export.archive.into_inner()?.flush()
}

impl<W: Write> Export<W> {
    fn folder(&mut self, folder: BorrowedFd<'_>, path: &[u8], depth: usize) -> io::Result<()> {
        for name in names(folder)? {
            let mut path = path.to_vec();
            path.extend_from_slice(name.as_bytes());
            match self.entry(folder, &name, &path, depth) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // The innermost says where.
                Err(error) if error.get_ref().is_none() => {
                    return Err(io::Error::new(
                        error.kind(),
                        format!(
                            "'{}': {}",
                            crate::error::shown(&path),
                            crate::error::reason(&error)
                        ),
                    ));
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let fd = match FileType::from_raw_mode(found.st_mode) {
            // Sockets have no place in an archive and mean nothing elsewhere.
            FileType::Socket => return Ok(()),
            FileType::Directory | FileType::RegularFile => openat(
                folder,
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            )?,
            _ => open_path(folder, name)?,
        };
        // What was opened counts, whatever has happened to the name since.
        let stat = fstat(&fd)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut record = Record::new(path.to_vec(), &stat, fd.as_fd())?;
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&id) {
                record.header.set_entry_type(EntryType::Link);
                record.extensions.clear();
                record.link(first);
                return record.write(&mut self.archive, io::empty());
            }
            self.links.insert(id, path.to_vec());
        }
        match kind {
            FileType::Directory => {
                if depth >= DEEPEST {
                    return Err(io::Error::other(format!(
                        "'{}': nested too deeply",
                        crate::error::shown(path)
                    )));
                }
                record.name.push(b'/');
                let inner = record.name.clone();
                record.write(&mut self.archive, io::empty())?;
                return self.folder(fd.as_fd(), &inner, depth + 1);
            }
            FileType::RegularFile => return self.file(record, fd, &stat),
            FileType::Symlink => record.link(readlinkat(&fd, c"", Vec::new())?.as_bytes()),
            _ => {}
        }
        record.write(&mut self.archive, io::empty())
    }

    fn file(&mut self, mut record: Record, fd: OwnedFd, stat: &Stat) -> io::Result<()> {
        let file = File::from(fd);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let allocated = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        let extents = if allocated < size {
            extents(&file, size)?
        } else {
            vec![(0, size)]
        };
        let whole = extents == [(0, size)] || size == 0;
        let mut maps = Vec::new();
        record
            .header
            .set_size(extents.iter().map(|(_, length)| length).sum());
        if !whole {
            maps = record.sparse(&extents, size)?;
        }
        let data = Extents {
            file: &file,
            left: extents.into(),
        };
        record.write(&mut self.archive, maps.as_slice().chain(data))
    }
}

/// Where a file has data, up to `size`.
fn extents(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < size => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = seek(file, SeekFrom::Hole(start))?.min(size);
        extents.push((start, at - start));
    }
    Ok(extents)
}

/// Exactly the bytes that were promised, zeros for those that are gone.
struct Extents<'a> {
    file: &'a File,
    left: std::collections::VecDeque<(u64, u64)>,
}

impl Read for Extents<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.front().is_some_and(|(_, length)| *length == 0) {
            self.left.pop_front();
        }
        let Some((offset, length)) = self.left.front_mut() else {
            return Ok(0);
        };
        let most = buffer
            .len()
            .min(usize::try_from(*length).unwrap_or(usize::MAX));
        let mut read = self.file.read_at(&mut buffer[..most], *offset)?;
        if read == 0 {
            buffer[..most].fill(0);
            read = most;
        }
        *offset += read as u64;
        *length -= read as u64;
        Ok(read)
    }
}

/// One header with the extensions in front of it.
struct Record {
    header: Header,
    name: Vec<u8>,
    extensions: Vec<(String, Vec<u8>)>,
}

impl Record {
    fn new(name: Vec<u8>, stat: &Stat, fd: BorrowedFd<'_>) -> io::Result<Record> {
        let attributes = Attributes::with(stat, fd)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut header = Header::new_gnu();
        header.set_entry_type(match kind {
            FileType::Directory => EntryType::Directory,
            FileType::Symlink => EntryType::Symlink,
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            FileType::Fifo => EntryType::Fifo,
            _ => EntryType::Regular,
        });
        header.set_mode(attributes.mode);
        header.set_uid(attributes.uid.into());
        header.set_gid(attributes.gid.into());
        header.set_size(0);
        header.set_device_major(major(stat.st_rdev))?;
        header.set_device_minor(minor(stat.st_rdev))?;
        let mut extensions = Vec::new();
        let mtime = attributes.mtime;
        header.set_mtime(u64::try_from(mtime.tv_sec).unwrap_or(0));
        if mtime.tv_sec < 0 || mtime.tv_nsec != 0 {
            let text = time(mtime.tv_sec, mtime.tv_nsec);
            extensions.push(("mtime".to_owned(), text.into_bytes()));
        }
        for (name, value) in attributes.extended {
            extensions.push((format!("SCHILY.xattr.{name}"), value));
        }
        Ok(Record {
            header,
            name,
            extensions,
        })
    }

    fn link(&mut self, target: &[u8]) {
        if self.header.set_link_name_literal(target).is_err() {
            self.extensions
                .push(("linkpath".to_owned(), target.to_vec()));
        }
    }

    /// Puts the map of a sparse file into the header; what has no place in it is
    /// given back, to be written behind it.
    fn sparse(&mut self, extents: &[(u64, u64)], size: u64) -> io::Result<Vec<u8>> {
        let set = |header: &mut GnuSparseHeader, (offset, length): (u64, u64)| {
            header.set_offset(offset);
            header.set_length(length);
        };
        // The empty piece says where the file ends.
        let mut pieces = extents.iter().copied().chain([(size, 0)]).peekable();
        self.header.set_entry_type(EntryType::GNUSparse);
        let gnu = self.header.as_gnu_mut().ok_or(io::ErrorKind::InvalidData)?;
        gnu.set_real_size(size);
        for (header, piece) in gnu.sparse.iter_mut().zip(pieces.by_ref()) {
            set(header, piece);
        }
        let mut more = pieces.peek().is_some();
        gnu.set_is_extended(more);
        let mut blocks = Vec::new();
        while more {
            let mut block = GnuExtSparseHeader::new();
            for (header, piece) in block.sparse_mut().iter_mut().zip(pieces.by_ref()) {
                set(header, piece);
            }
            more = pieces.peek().is_some();
            block.set_is_extended(more);
            blocks.extend_from_slice(block.as_bytes());
        }
        Ok(blocks)
    }

    fn write(mut self, archive: &mut Builder<impl Write>, data: impl Read) -> io::Result<()> {
        let field = &mut self.header.as_old_mut().name;
        let length = self.name.len().min(field.len());
        field[..length].copy_from_slice(&self.name[..length]);
        if self.name.len() > length {
            self.extensions.push(("path".to_owned(), self.name));
        }
        if !self.extensions.is_empty() {
            archive.append_pax_extensions(
                self.extensions
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_slice())),
            )?;
        }
        self.header.set_cksum();
        archive.append(&self.header, data)
    }
}

/// Seconds with a fraction, as pax headers have them.
fn time(seconds: i64, nanoseconds: i64) -> String {
    let text = if seconds < 0 && nanoseconds > 0 {
        // -2 s and 500 ms later is -1.5 s.
        let (whole, fraction) = (-(seconds + 1), 1_000_000_000 - nanoseconds);
        format!("-{whole}.{fraction:09}")
    } else {
        format!("{seconds}.{nanoseconds:09}")
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written() {
        for (seconds, nanoseconds, text) in [
            (5, 0, "5"),
            (5, 250_000_000, "5.25"),
            (-2, 500_000_000, "-1.5"),
            (-3, 0, "-3"),
            (10, 1, "10.000000001"),
            (100, 0, "100"),
        ] {
            assert_eq!(time(seconds, nanoseconds), text);
        }
    }
}

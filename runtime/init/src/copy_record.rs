//! One file as a tar archive has it: header, extensions, data.

use std::fs::File;
use std::io::{self, BufWriter, Read, Stdout};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Stat, fgetxattr, flistxattr, major, minor};
use tar::{Builder, EntryType, Header};

use crate::error::reason;

/// Extended attributes that mean nothing elsewhere.
const LOCAL_ATTRIBUTES: [&str; 2] = ["security.selinux", "security.ima"];

/// An archive on standard output.
pub(crate) type Archive = Builder<BufWriter<Stdout>>;

/// One header with the extensions that go in front of it (pax, POSIX.1-2001).
pub(crate) struct Record {
    pub(crate) header: Header,
    stored: Vec<u8>,
    extensions: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// A record of what was found.
    pub(crate) fn new(stat: &Stat, stored: &[u8]) -> Record {
        let mut header = Header::new_gnu();
        let kind = FileType::from_raw_mode(stat.st_mode);
        header.set_entry_type(match kind {
            FileType::Directory => EntryType::Directory,
            FileType::Symlink => EntryType::Symlink,
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            FileType::Fifo => EntryType::Fifo,
            _ => EntryType::Regular,
        });
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(stat.st_uid.into());
        header.set_gid(stat.st_gid.into());
        header.set_size(0);
        let mut extensions = Vec::new();
        match u64::try_from(stat.st_mtime) {
            Ok(seconds) => header.set_mtime(seconds),
            // Before 1970.
            Err(_) => extensions.push(("mtime".to_owned(), stat.st_mtime.to_string().into_bytes())),
        }
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            // GNU headers have these fields.
            let _ = header.set_device_major(major(stat.st_rdev));
            let _ = header.set_device_minor(minor(stat.st_rdev));
        }
        let mut stored = stored.to_vec();
        if kind == FileType::Directory {
            stored.push(b'/');
        }
        Record {
            header,
            stored,
            extensions,
        }
    }

    /// The name as a path.
    pub(crate) fn path(&self) -> &std::path::Path {
        std::path::Path::new(
            <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&self.stored),
        )
    }

    /// Whether the name needs no extension.
    pub(crate) fn fits(&self) -> bool {
        self.stored.len() <= 100
    }

    /// What it links to.
    pub(crate) fn link(&mut self, target: &[u8]) {
        if self.header.set_link_name_literal(target).is_err() {
            self.extensions
                .push(("linkpath".to_owned(), target.to_vec()));
        }
    }

    /// Takes up the extended attributes of an open file.
    pub(crate) fn attributes(&mut self, fd: BorrowedFd<'_>) {
        let mut names = vec![0; 65536];
        let Ok(length) = flistxattr(fd, &mut names) else {
            return;
        };
        for name in names[..length]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let Ok(name) = str::from_utf8(name) else {
                continue;
            };
            let mut value = vec![0; 65536];
            // The attribute may have gone since, or may not be for us to read (trusted.*).
            let Ok(length) = fgetxattr(fd, name, &mut value) else {
                continue;
            };
            if !LOCAL_ATTRIBUTES.contains(&name) {
                value.truncate(length);
                self.extensions
                    .push((format!("SCHILY.xattr.{name}"), value));
            }
        }
    }

    /// Drops the attributes whose names begin so.
    pub(crate) fn without(&mut self, prefix: &str) {
        let prefix = format!("SCHILY.xattr.{prefix}");
        self.extensions.retain(|(key, _)| !key.starts_with(&prefix));
    }

    /// Writes the extensions alone.
    pub(crate) fn append_extensions(&self, archive: &mut Archive) -> io::Result<()> {
        archive.append_pax_extensions(
            self.extensions
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice())),
        )
    }

    /// Writes extensions, header and data.
    pub(crate) fn append(mut self, archive: &mut Archive, data: impl Read) -> io::Result<()> {
        let field = &mut self.header.as_old_mut().name;
        let length = self.stored.len().min(field.len());
        field[..length].copy_from_slice(&self.stored[..length]);
        if self.stored.len() > length {
            self.extensions
                .push(("path".to_owned(), self.stored.clone()));
        }
        if !self.extensions.is_empty() {
            self.append_extensions(archive)?;
        }
        self.header.set_cksum();
        archive.append(&self.header, data)
    }
}

/// Exactly as many bytes as the header said, whatever becomes of the file.
pub(crate) struct Exact {
    file: File,
    left: u64,
    /// Why the rest is zeros.
    pub(crate) short: Option<String>,
}

impl Exact {
    /// `left` bytes of a file.
    pub(crate) fn new(file: File, left: u64) -> Exact {
        Exact {
            file,
            left,
            short: None,
        }
    }
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..most];
        let length = if self.short.is_some() {
            0
        } else {
            self.try_read(buffer)
        };
        let length = if length == 0 {
            buffer.fill(0);
            most
        } else {
            length
        };
        self.left -= length as u64;
        Ok(length)
    }
}

impl Exact {
    fn try_read(&mut self, buffer: &mut [u8]) -> usize {
        match self.file.read(buffer) {
            Ok(0) => {
                self.short = Some("it became shorter".to_owned());
                0
            }
            Ok(length) => length,
            Err(error) => {
                self.short = Some(reason(&error));
                0
            }
        }
    }
}

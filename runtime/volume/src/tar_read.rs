//! Reading a tar archive that nobody vouches for: ustar, GNU (long names, sparse
//! files) and pax. What a header claims takes neither memory nor time by itself: names
//! and extensions have an upper bound, and the holes of sparse files are not data.
//!
//! The crate `tar` decodes single headers; its reader puts no bound on extensions,
//! goes through holes byte by byte, and splits extended attributes at line feeds.

use std::io::{self, ErrorKind, Read};

use rustix::fs::Timespec;
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::tar_pax::Extensions;

const BLOCK: usize = 512;
/// Largest extension (names, attributes) of one member, in bytes.
const EXTENSION: u64 = 1 << 20;
/// Most pieces of one sparse file.
const EXTENTS: usize = 1 << 20;

/// One member of an archive.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timespec,
    pub(crate) device: (u32, u32),
    /// Bytes of the file.
    pub(crate) size: u64,
    /// Where its data goes, in ascending order: offset and length.
    pub(crate) extents: Vec<(u64, u64)>,
    pub(crate) extended: Vec<(String, Vec<u8>)>,
}

/// An archive, read from front to back.
pub(crate) struct Reader<R> {
    input: R,
    /// Bytes of the current member that were not read yet, and of its padding.
    left: u64,
    padding: u64,
}

pub(crate) fn bad(why: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.into())
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(input: R) -> Reader<R> {
        Reader {
            input,
            left: 0,
            padding: 0,
        }
    }

    /// The next member; `None` at the end mark.
    ///
    /// # Errors
    /// Not an archive, one that ends early, or something in it that is not understood.
    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = or_zero(&header.as_old().size, header.entry_size())?;
            match header.entry_type() {
                EntryType::XHeader => extensions.pax(&self.extension(size)?)?,
                // Comments on the archive as a whole.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                EntryType::GNULongName => {
                    extensions.name = Some(until_zero(self.extension(size)?));
                }
                EntryType::GNULongLink => {
                    extensions.link = Some(until_zero(self.extension(size)?));
                }
                _ => return self.member(&header, extensions).map(Some),
            }
        }
    }

    /// Reads data of the current member.
    pub(crate) fn data(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let length = buffer.len() as u64;
        self.left = self
            .left
            .checked_sub(length)
            .ok_or_else(|| bad("a file has less data than its map says"))?;
        exact(&mut self.input, buffer)
    }

    fn member(&mut self, header: &Header, extensions: Extensions) -> io::Result<Member> {
        let kind = header.entry_type();
        let has_data = matches!(
            kind,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        );
        // A link's size is what it links to; it has no data behind it.
        let stored = match (has_data, extensions.size) {
            (false, _) => 0,
            (true, Some(size)) => size,
            (true, None) => or_zero(&header.as_old().size, header.entry_size())?,
        };
        let (size, extents) = if kind == EntryType::GNUSparse {
            self.sparse(header, stored)?
        } else {
            (stored, vec![(0, stored)])
        };
        self.expect(stored)?;
        let id = |id: u64| {
            u32::try_from(id)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| bad("an owner that is no number of a user"))
        };
        Ok(Member {
            name: extensions
                .name
                .unwrap_or_else(|| header.path_bytes().into_owned()),
            link: extensions.link.unwrap_or_else(|| {
                header
                    .link_name_bytes()
                    .map(|name| name.into_owned())
                    .unwrap_or_default()
            }),
            kind,
            mode: or_zero(&header.as_old().mode, header.mode())? & 0o7777,
            uid: id(extensions
                .uid
                .map_or_else(|| or_zero(&header.as_old().uid, header.uid()), Ok)?)?,
            gid: id(extensions
                .gid
                .map_or_else(|| or_zero(&header.as_old().gid, header.gid()), Ok)?)?,
            mtime: match extensions.mtime {
                Some(mtime) => mtime,
                None => Timespec {
                    // GNU tar writes times before 1970 in two's complement.
                    tv_sec: or_zero(&header.as_old().mtime, header.mtime())?.cast_signed(),
                    tv_nsec: 0,
                },
            },
            // The fields may be empty where they mean nothing.
            device: if matches!(kind, EntryType::Char | EntryType::Block) {
                let (major, minor) = (field(header.device_major())?, field(header.device_minor())?);
                (major.unwrap_or(0), minor.unwrap_or(0))
            } else {
                (0, 0)
            },
            size,
            extents,
            extended: extensions.extended,
        })
    }

    /// The map of a sparse file: in its header, and in blocks behind it.
    fn sparse(&mut self, header: &Header, stored: u64) -> io::Result<(u64, Vec<(u64, u64)>)> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| bad("a sparse file in a header that is not GNU's"))?;
        let mut extents = Vec::new();
        add(&mut extents, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            exact(&mut self.input, block.as_mut_bytes())?;
            add(&mut extents, block.sparse())?;
            if extents.len() > EXTENTS {
                return Err(bad("a sparse file of too many pieces"));
            }
            more = block.is_extended();
        }
        let size = field(gnu.real_size())?;
        let (mut end, mut sum) = (0_u64, 0_u64);
        for (offset, length) in &extents {
            let last = offset.checked_add(*length).filter(|last| *last <= size);
            match last {
                Some(last) if *offset >= end => end = last,
                _ => return Err(bad("a sparse file whose map makes no sense")),
            }
            sum += length;
        }
        if sum != stored {
            return Err(bad("a sparse file whose map makes no sense"));
        }
        Ok((size, extents))
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        exact(&mut self.input, header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        for (magic, name) in [
            (&b"\x1f\x8b"[..], "gzip"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"BZh", "bzip2"),
            (b"\xfd7zXZ", "xz"),
        ] {
            if bytes.starts_with(magic) {
                return Err(bad(format!("it is compressed with {name}")));
            }
        }
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let expected = sum(&bytes[..148]) + 8 * u32::from(b' ') + sum(&bytes[156..]);
        if header.cksum().ok() != Some(expected) {
            return Err(bad("not a tar archive, or a damaged one"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > EXTENSION {
            return Err(bad("a name or attributes of more than 1 MiB"));
        }
        self.expect(size)?;
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        self.data(&mut data)?;
        Ok(data)
    }

    fn expect(&mut self, size: u64) -> io::Result<()> {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        Ok(())
    }

    fn skip(&mut self) -> io::Result<()> {
        let length = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.input).take(length), &mut io::sink())?;
        if skipped < length {
            return Err(short());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

/// A number of a header. The crate's own error has the bytes in it as they are.
fn field<N>(number: io::Result<N>) -> io::Result<N> {
    number.map_err(|_| bad("a header with a number that is none"))
}

/// A number whose field is blank where it means nothing.
fn or_zero<N: Default>(raw: &[u8], number: io::Result<N>) -> io::Result<N> {
    if raw.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(N::default());
    }
    field(number)
}

fn short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "it ends early")
}

fn exact(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<()> {
    input
        .read_exact(buffer)
        .map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => short(),
            _ => error,
        })
}

fn add(extents: &mut Vec<(u64, u64)>, headers: &[GnuSparseHeader]) -> io::Result<()> {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        let (offset, length) = (field(header.offset())?, field(header.length())?);
        // GNU tar ends a map with an empty piece when the file ends with a hole.
        if length > 0 {
            extents.push((offset, length));
        }
    }
    Ok(())
}

fn until_zero(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_path("x").unwrap();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(5);
        header.set_size(size);
        header.set_cksum();
        header
    }

    fn why(bytes: &[u8]) -> String {
        let mut reader = Reader::new(bytes);
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => return "fine".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }

    #[test]
    fn hostile_headers_are_refused_at_once() {
        let end = [0; 2 * BLOCK];
        let with = |header: &Header| [&header.as_bytes()[..], &end].concat();
        assert_eq!(why(&end), "fine");
        assert_eq!(why(b""), "it ends early");
        assert_eq!(why(&[0x1f, 0x8b].repeat(300)), "it is compressed with gzip");
        assert_eq!(why(&[7; 600]), "not a tar archive, or a damaged one");
        assert_eq!(
            why(&with(&header(EntryType::Regular, 1 << 62))),
            "it ends early"
        );
        assert_eq!(
            why(&with(&header(EntryType::GNULongName, 1 << 40))),
            "a name or attributes of more than 1 MiB"
        );
        let mut number = header(EntryType::Regular, 0);
        number.as_old_mut().size[..2].copy_from_slice(b"\ne");
        number.set_cksum();
        assert_eq!(why(&with(&number)), "a header with a number that is none");
        let mut sparse = header(EntryType::GNUSparse, 512);
        let gnu = sparse.as_gnu_mut().unwrap();
        gnu.set_real_size(1 << 62);
        gnu.sparse[0].set_offset(u64::MAX - 5);
        gnu.sparse[0].set_length(512);
        sparse.set_cksum();
        assert_eq!(
            why(&with(&sparse)),
            "a sparse file whose map makes no sense"
        );
        assert_eq!(
            why(header(EntryType::Regular, 0).as_bytes()),
            "it ends early"
        );
    }
}

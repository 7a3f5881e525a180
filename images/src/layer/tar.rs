//! A streaming reader of tar archives that holds no more of an entry in memory
//! than its names and attributes, and bounds those.

use std::io::{self, BufRead};

use super::header::{BLOCK, Header, Segment};
use super::pax::Pax;
use crate::error::{Error, Result};

/// Longest extended header or long name in bytes.
const MAX_EXTENDED: u64 = 2 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A further name of a file of the same archive.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A folder.
    Dir,
    /// A named pipe.
    Fifo,
}

/// One entry; its data follows in the reader.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub path: Vec<u8>,
    /// What a link leads to.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with what else the archive has there.
    pub mode: u32,
    /// Owner.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number.
    pub device: (u32, u32),
    /// Apparent size of a file.
    pub size: u64,
    /// Where its data goes, when it has holes.
    pub sparse: Option<Vec<Segment>>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Bytes that it holds in memory.
    pub(crate) fn weight(&self) -> usize {
        let xattrs = self
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len() + 64);
        let segments = self
            .sparse
            .as_ref()
            .map_or(0, |s| s.len() * size_of::<Segment>());
        self.path.len() + self.link.len() + segments + xattrs.sum::<usize>()
    }
}

/// Reads a tar stream entry by entry.
#[derive(Debug)]
pub struct TarReader<R> {
    reader: R,
    /// Data bytes of the current entry that were not read yet.
    pub(super) left: u64,
    /// Padding after them.
    padding: u64,
    globals: Pax,
    what: String,
}

impl<R: BufRead> TarReader<R> {
    /// Reads `reader`, which messages call `what`.
    pub fn new(reader: R, what: impl Into<String>) -> Self {
        Self {
            reader,
            left: 0,
            padding: 0,
            globals: Pax::default(),
            what: what.into(),
        }
    }

    /// The next entry; data of the last one that was not read is skipped.
    ///
    /// # Errors
    /// A malformed stream, or one that can't be read.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip_data()?;
        let mut pax = self.globals.clone();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header.size()?;
            match header.type_flag() {
                b'x' | b'X' => pax.read(&self.extended(size)?)?,
                b'g' => {
                    let records = self.extended(size)?;
                    self.globals.read(&records)?;
                    if self.globals.weight() as u64 > MAX_EXTENDED {
                        return Err(Error::limit(
                            "a global header",
                            format!("{MAX_EXTENDED} bytes"),
                        ));
                    }
                    pax.read(&records)?;
                }
                b'L' => long_name = Some(until_nul(self.extended(size)?)),
                b'K' => long_link = Some(until_nul(self.extended(size)?)),
                // A volume's label, not a file.
                b'V' => {
                    self.set_data(size);
                    self.skip_data()?;
                }
                _ => {
                    return self
                        .entry(&header, size, pax, long_name, long_link)
                        .map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry> {
        let path = pax
            .sparse
            .name
            .clone()
            .or_else(|| pax.path.clone())
            .or(long_name);
        let path = path.unwrap_or_else(|| header.path());
        let kind = kind_of(header.type_flag(), &path)?;
        let mut entry = Entry {
            path,
            link: pax
                .link
                .clone()
                .or(long_link)
                .unwrap_or_else(|| header.link()),
            kind,
            mode: header.mode()?,
            uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
            mtime: pax
                .mtime
                .map_or_else(|| header.mtime().map(|seconds| (seconds, 0)), Ok)?,
            device: (0, 0),
            size: pax.size.unwrap_or(size),
            sparse: None,
            xattrs: pax.xattrs.clone(),
        };
        match kind {
            EntryKind::File => {
                self.set_data(entry.size);
                self.sparse(header, &pax, &mut entry)?;
            }
            EntryKind::Char | EntryKind::Block => entry.device = header.device()?,
            // Data after a directory is skipped. Links have none, though old
            // writers repeat the target's size there.
            EntryKind::Dir => self.set_data(entry.size),
            _ => {}
        }
        if kind != EntryKind::File {
            entry.size = 0;
        }
        Ok(entry)
    }

    /// The next piece of the current entry's data; empty at its end.
    ///
    /// # Errors
    /// A stream that ends early, or can't be read.
    pub fn data(&mut self) -> Result<&[u8]> {
        // Said twice, because the borrow checker cannot tell that the error
        // path does not hold the buffer.
        if self.left > 0 && self.fill()? == 0 {
            return Err(self.truncated());
        }
        let what = &self.what;
        let read = |source| Error::Read {
            what: what.clone(),
            source,
        };
        let limit = usize::try_from(self.left).unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(&[]);
        }
        let buffer = self.reader.fill_buf().map_err(read)?;
        Ok(&buffer[..buffer.len().min(limit)])
    }

    /// Marks `n` bytes of what [`TarReader::data`] gave as read.
    pub fn consume(&mut self, n: usize) {
        self.left -= n as u64;
        self.reader.consume(n);
    }

    /// Data bytes of the current entry that are left.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// All of the current entry's data.
    pub(crate) fn read_all(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.left > limit {
            return Err(Error::limit(
                "a document in the archive",
                format!("{limit} bytes"),
            ));
        }
        let mut out = Vec::with_capacity(self.left as usize);
        loop {
            let piece = self.data()?;
            if piece.is_empty() {
                return Ok(out);
            }
            out.extend_from_slice(piece);
            let n = piece.len();
            self.consume(n);
        }
    }

    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    fn set_data(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip_data(&mut self) -> Result<()> {
        while !self.data()?.is_empty() {
            let n = self.data()?.len();
            self.consume(n);
        }
        while self.padding > 0 {
            let n = self.fill()?;
            if n == 0 {
                // The last block's padding is missing: nothing is lost.
                self.padding = 0;
                break;
            }
            let n = n.min(self.padding as usize);
            self.reader.consume(n);
            self.padding -= n as u64;
        }
        Ok(())
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENDED {
            return Err(Error::limit(
                "an extended header",
                format!("{MAX_EXTENDED} bytes"),
            ));
        }
        self.set_data(size);
        let records = self.read_all(MAX_EXTENDED)?;
        self.skip_data()?;
        Ok(records)
    }

    fn header(&mut self) -> Result<Option<Header>> {
        match self.block()? {
            Some(block) => Header::parse(block),
            None => Ok(None),
        }
    }

    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let n = self.fill()?.min(BLOCK - filled);
            if n == 0 && filled == 0 {
                return Ok(None);
            }
            if n == 0 {
                return Err(self.truncated());
            }
            let what = &self.what;
            let read = |source| Error::Read {
                what: what.clone(),
                source,
            };
            block[filled..filled + n].copy_from_slice(&self.reader.fill_buf().map_err(read)?[..n]);
            self.reader.consume(n);
            filled += n;
        }
        Ok(Some(block))
    }

    /// Bytes at hand; 0 at the end of the stream.
    fn fill(&mut self) -> Result<usize> {
        loop {
            match self.reader.fill_buf() {
                Ok(buffer) => return Ok(buffer.len()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Read {
                        what: self.what.clone(),
                        source,
                    });
                }
            }
        }
    }

    pub(super) fn truncated(&self) -> Error {
        Error::Tar(format!("{} ends in the middle of an entry", self.what))
    }
}

fn kind_of(flag: u8, path: &[u8]) -> Result<EntryKind> {
    Ok(match flag {
        // Before ustar a directory was a file whose name ends in a slash.
        0 | b'0' | b'7' if path.ends_with(b"/") => EntryKind::Dir,
        0 | b'0' | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::Char,
        b'4' => EntryKind::Block,
        b'5' | b'D' => EntryKind::Dir,
        b'6' => EntryKind::Fifo,
        other => {
            let reason = format!(
                "entries of the type `{}` are not known",
                other.escape_ascii()
            );
            return Err(Error::entry(path, reason));
        }
    })
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&b| b == 0) {
        bytes.truncate(end);
    }
    bytes
}

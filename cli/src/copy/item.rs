//! Entries of an archive that is not trusted: their headers may be only so long.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::Mode;
use tar::{Entry, EntryType};

/// Headers of one entry, long names included, may have so many bytes.
const LONGEST: u64 = 4 << 20;
/// Zeros of this many bytes become a hole.
const BLOCK: usize = 64 * 1024;

/// What an entry says about itself.
pub(super) struct Item {
    pub(super) name: PathBuf,
    pub(super) link: Option<PathBuf>,
    pub(super) kind: EntryType,
    pub(super) mode: Mode,
    pub(super) owner: (u32, u32),
    /// Seconds since the epoch.
    pub(super) mtime: i64,
}

impl Item {
    pub(super) fn of<R: Read>(entry: &Entry<'_, R>) -> io::Result<Item> {
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an id is too large"));
        let (name, link) = (entry.path_bytes(), entry.link_name_bytes());
        let link = link.filter(|link| !link.is_empty());
        if name.contains(&0) || link.as_ref().is_some_and(|link| link.contains(&0)) {
            return Err(io::Error::other("a name has a zero byte"));
        }
        let header = entry.header();
        Ok(Item {
            name: path(&name),
            link: link.map(|link| path(&link)),
            kind: header.entry_type(),
            mode: Mode::from(header.mode()? & 0o7777),
            owner: (id(header.uid()?)?, id(header.gid()?)?),
            mtime: i64::try_from(header.mtime()?).unwrap_or(0),
        })
    }
}

/// How much may be read before the next entry must have been found.
#[derive(Debug, Default)]
pub(super) struct Budget(Cell<Option<u64>>);

impl Budget {
    /// A header comes.
    pub(super) fn header(&self) {
        self.0.set(Some(LONGEST));
    }

    /// Content comes, which may be as long as it likes.
    pub(super) fn content(&self) {
        self.0.set(None);
    }
}

/// A reader that keeps to a budget.
pub(super) struct Metered<'a, R> {
    pub(super) inner: R,
    pub(super) budget: &'a Budget,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.budget.0.get() else {
            return self.inner.read(out);
        };
        let room = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if room == 0 && !out.is_empty() {
            return Err(io::Error::other("a header is too long"));
        }
        let count = self.inner.read(&mut out[..room])?;
        self.budget.0.set(Some(left - count as u64));
        Ok(count)
    }
}

/// Copies content into a new file; blocks of zeros become holes.
pub(super) fn copy_sparse(content: &mut impl Read, file: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut size = 0;
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            match content.read(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        let block = &buffer[..filled];
        size += filled as u64;
        match block.iter().all(|byte| *byte == 0) {
            true => drop(file.seek(SeekFrom::Start(size))?),
            false => file.write_all(block)?,
        }
        if filled < BLOCK {
            return file.set_len(size);
        }
    }
}

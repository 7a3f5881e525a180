//! Writes tar streams: ustar headers, with pax headers for what they cannot
//! hold.

use std::io::{self, Read, Write};

use super::header::{BLOCK, Segment};
use super::tar::EntryKind;

/// What an entry's headers say.
#[derive(Clone, Debug)]
pub struct NewEntry<'a> {
    /// Its name without a slash in front or behind.
    pub path: &'a [u8],
    /// What it is.
    pub kind: EntryKind,
    /// What a link leads to.
    pub link: &'a [u8],
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number.
    pub device: (u32, u32),
    /// Extended attributes, sorted.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> NewEntry<'a> {
    /// Root's, with no time.
    pub fn plain(path: &'a [u8], kind: EntryKind, mode: u32) -> Self {
        Self {
            path,
            kind,
            link: b"",
            mode,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            device: (0, 0),
            xattrs: &[],
        }
    }
}

/// Writes one entry after the other.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// An entry without data.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn entry(&mut self, entry: &NewEntry<'_>) -> io::Result<()> {
        self.headers(entry, 0, Vec::new())
    }

    /// A file whose data is `data`, which must have `size` bytes.
    ///
    /// # Errors
    /// `out` can't be written, or `data` is shorter.
    pub fn file(&mut self, entry: &NewEntry<'_>, size: u64, data: &mut dyn Read) -> io::Result<()> {
        self.headers(entry, size, Vec::new())?;
        self.copy(size, data)?;
        self.pad(size)
    }

    /// A file of `size` bytes with holes (GNU sparse format 1.0). `read` gives
    /// the data of a segment.
    pub(crate) fn sparse(
        &mut self,
        entry: &NewEntry<'_>,
        size: u64,
        segments: &[Segment],
        read: &mut dyn FnMut(&Segment) -> io::Result<Box<dyn Read>>,
    ) -> io::Result<()> {
        // A last segment without data marks where the file ends.
        let end = Segment {
            offset: size,
            len: 0,
        };
        let mut map = format!("{}\n", segments.len() + 1);
        for segment in segments.iter().chain([&end]) {
            map.push_str(&format!("{}\n{}\n", segment.offset, segment.len));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        let mut records = Vec::new();
        record(&mut records, b"GNU.sparse.major", b"1");
        record(&mut records, b"GNU.sparse.minor", b"0");
        record(&mut records, b"GNU.sparse.name", entry.path);
        record(
            &mut records,
            b"GNU.sparse.realsize",
            size.to_string().as_bytes(),
        );
        let data: u64 = segments.iter().map(|segment| segment.len).sum();
        let stored = map.len() as u64 + data;
        self.headers(entry, stored, records)?;
        self.out.write_all(&map)?;
        for segment in segments {
            self.copy(segment.len, &mut *read(segment)?)?;
        }
        self.pad(stored)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn copy(&mut self, size: u64, data: &mut dyn Read) -> io::Result<()> {
        let copied = io::copy(&mut data.take(size), &mut self.out)?;
        if copied != size {
            let message = format!("it has {copied} of {size} bytes: it changed while it was read");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = size.wrapping_neg() % BLOCK as u64;
        self.out.write_all(&[0; BLOCK][..padding as usize])
    }

    fn headers(&mut self, entry: &NewEntry<'_>, size: u64, mut records: Vec<u8>) -> io::Result<()> {
        let path = match entry.kind {
            EntryKind::Dir => [entry.path, b"/"].concat(),
            _ => entry.path.to_vec(),
        };
        if path.len() > 100 {
            record(&mut records, b"path", &path);
        }
        if entry.link.len() > 100 {
            record(&mut records, b"linkpath", entry.link);
        }
        for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if id > 0o7_777_777 {
                record(&mut records, key, id.to_string().as_bytes());
            }
        }
        if size > 0o77_777_777_777 {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        if entry.mtime.1 != 0 || !(0..=0o77_777_777_777).contains(&entry.mtime.0) {
            record(&mut records, b"mtime", timestamp(entry.mtime).as_bytes());
        }
        for (name, value) in entry.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !records.is_empty() {
            let extended = NewEntry::plain(b"pax", EntryKind::File, 0o644);
            self.out
                .write_all(&header(&extended, b"pax", b'x', records.len() as u64))?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let flag = match entry.kind {
            EntryKind::File => b'0',
            EntryKind::HardLink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::Char => b'3',
            EntryKind::Block => b'4',
            EntryKind::Dir => b'5',
            EntryKind::Fifo => b'6',
        };
        self.out.write_all(&header(entry, &path, flag, size))
    }
}

/// Seconds with a fraction; before 1970 both parts count downwards.
fn timestamp((seconds, nanos): (i64, u32)) -> String {
    if seconds < 0 && nanos > 0 {
        let sign = "-";
        return format!("{sign}{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos);
    }
    format!("{seconds}.{nanos:09}")
}

/// Appends `LENGTH KEY=VALUE\n`; the length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A ustar header. What does not fit is cut: a pax header tells it.
fn header(entry: &NewEntry<'_>, path: &[u8], flag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut text = |at: usize, len: usize, value: &[u8]| {
        let n = value.len().min(len);
        block[at..at + n].copy_from_slice(&value[..n]);
    };
    let octal = |value: u64, digits: usize| {
        let value = value & ((1 << (3 * digits)) - 1);
        format!("{value:0digits$o}").into_bytes()
    };
    text(0, 100, path);
    text(100, 7, &octal(u64::from(entry.mode), 7));
    text(108, 7, &octal(u64::from(entry.uid), 7));
    text(116, 7, &octal(u64::from(entry.gid), 7));
    text(124, 11, &octal(size, 11));
    text(
        136,
        11,
        &octal(u64::try_from(entry.mtime.0).unwrap_or(0), 11),
    );
    text(148, 8, b"        ");
    text(156, 1, &[flag]);
    text(157, 100, entry.link);
    text(257, 8, b"ustar\x0000");
    text(329, 7, &octal(u64::from(entry.device.0), 7));
    text(337, 7, &octal(u64::from(entry.device.1), 7));
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    block[148..155].copy_from_slice(&[&octal(sum, 6)[..], b"\0"].concat());
    block
}

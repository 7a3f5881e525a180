//! The content of a disk: pieces of files, bytes and zeros, one after the other.
//! Nothing that the guest says opens or names a file.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, fdatasync};

use crate::memory::Memory;
use crate::sys;
use crate::virtio::queue::Buffer;

/// One piece.
#[derive(Clone, Debug)]
pub(crate) enum Extent {
    /// A part of a file.
    File {
        file: Arc<File>,
        offset: u64,
        len: u64,
    },
    /// These bytes.
    Bytes(Vec<u8>),
    /// Zeros.
    Zero { len: u64 },
}

impl Extent {
    fn len(&self) -> u64 {
        match self {
            Extent::File { len, .. } | Extent::Zero { len } => *len,
            Extent::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// All pieces with the place where each starts.
#[derive(Debug)]
pub(crate) struct Extents {
    pieces: Vec<(u64, Extent)>,
    len: u64,
}

/// A part of one piece.
struct Part<'a> {
    extent: &'a Extent,
    /// Offset in the piece.
    at: u64,
    len: u64,
}

impl Extents {
    /// Puts pieces together; none may be empty.
    ///
    /// # Errors
    /// A file is too short for its piece, or the sum overflows.
    pub(crate) fn new(extents: Vec<Extent>) -> io::Result<Extents> {
        let mut len = 0u64;
        let mut pieces = Vec::with_capacity(extents.len());
        for extent in extents {
            if let Extent::File { file, offset, len } = &extent {
                check_file(file, *offset, *len)?;
            }
            let start = len;
            len = len
                .checked_add(extent.len())
                .ok_or(io::ErrorKind::InvalidInput)?;
            pieces.push((start, extent));
        }
        Ok(Extents { pieces, len })
    }

    /// Bytes of all pieces together.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The parts of pieces that make up `len` bytes from `offset` on.
    fn parts(&self, offset: u64, len: u64) -> impl Iterator<Item = Part<'_>> {
        let end = offset.saturating_add(len);
        let first = self
            .pieces
            .partition_point(|(start, extent)| start + extent.len() <= offset);
        self.pieces[first..]
            .iter()
            .take_while(move |(start, _)| *start < end)
            .map(move |(start, extent)| {
                let at = offset.saturating_sub(*start);
                let stop = (end - start).min(extent.len());
                Part {
                    extent,
                    at,
                    len: stop - at,
                }
            })
    }

    /// Reads `len` bytes at `offset` into the start of the buffer.
    pub(crate) fn read(
        &self,
        memory: &Memory,
        buffer: &Buffer,
        len: usize,
        offset: u64,
    ) -> io::Result<()> {
        let mut done = 0;
        for part in self.parts(offset, len as u64) {
            let here = part.len as usize;
            match part.extent {
                Extent::File { file, offset, .. } => {
                    read_file(file, memory, buffer, done, here, offset + part.at)?;
                }
                Extent::Bytes(bytes) => {
                    let at = part.at as usize;
                    buffer.write(memory, done, &bytes[at..at + here]);
                }
                Extent::Zero { .. } => buffer.write_zeros(memory, done, here),
            }
            done += here;
        }
        Ok(())
    }

    /// Writes `len` bytes of the buffer from `from` on at `offset`.
    pub(crate) fn write(
        &self,
        memory: &Memory,
        buffer: &Buffer,
        from: usize,
        len: usize,
        offset: u64,
    ) -> io::Result<()> {
        let mut done = from;
        for part in self.parts(offset, len as u64) {
            let (file, start) = part.file()?;
            let mut left = part.len as usize;
            let mut at = start;
            while left > 0 {
                let slices = buffer.slices(memory, done, left);
                let count = sys::write_at(file.as_fd(), &slices, at)?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                (done, left, at) = (done + count, left - count, at + count as u64);
            }
        }
        Ok(())
    }

    /// Makes `len` bytes at `offset` zero: as a hole in the file, or as allocated
    /// blocks where `hole` does not allow one.
    pub(crate) fn zero(&self, offset: u64, len: u64, hole: bool) -> io::Result<()> {
        for part in self.parts(offset, len) {
            let (file, at) = part.file()?;
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if !hole {
                let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
                match fallocate(file, zero, at, part.len) {
                    // A file system without it: a hole reads as zeros, too.
                    Err(rustix::io::Errno::OPNOTSUPP) => {}
                    other => {
                        other?;
                        continue;
                    }
                }
            }
            fallocate(file, punch, at, part.len)?;
        }
        Ok(())
    }

    /// Waits until everything that was written is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        for (_, extent) in &self.pieces {
            if let Extent::File { file, .. } = extent {
                fdatasync(file)?;
            }
        }
        Ok(())
    }
}

impl Part<'_> {
    /// The file and the offset in it.
    fn file(&self) -> io::Result<(&File, u64)> {
        match self.extent {
            Extent::File { file, offset, .. } => Ok((file, offset + self.at)),
            _ => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }
}

fn check_file(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.is_file()
        && offset
            .checked_add(len)
            .is_none_or(|end| end > metadata.len())
    {
        let message = format!(
            "a file of {} bytes is too short for {len} at {offset}",
            metadata.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

fn read_file(
    file: &File,
    memory: &Memory,
    buffer: &Buffer,
    mut done: usize,
    mut left: usize,
    mut at: u64,
) -> io::Result<()> {
    while left > 0 {
        let slices = buffer.slices(memory, done, left);
        let count = sys::read_at(file.as_fd(), &slices, at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (done, left, at) = (done + count, left - count, at + count as u64);
    }
    Ok(())
}

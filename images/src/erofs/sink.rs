//! The data area of an image: files' blocks, appended as they stream by.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{BLOCK, BLOCK_BITS};
use crate::error::{Error, Result};
use crate::layer::apply::{DataSink, Source};
use crate::layer::header::Segment;
use crate::layer::tree::Data;

/// Files up to this size are kept for the inode area: a block of their own
/// would be mostly empty.
const INLINE_MAX: u64 = 1024;
/// Bytes of such files that are held in memory; further ones get blocks.
const INLINE_TOTAL: u64 = 64 << 20;
const BUFFER: usize = 1 << 20;
/// Chunks are at most this large (2^31 bytes).
const MAX_CHUNK_BITS: u8 = 31;

/// Appends to an image.
pub(crate) struct ErofsSink {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Bytes in the file, the buffer not counted.
    flushed: u64,
    inline: u64,
}

impl ErofsSink {
    /// Begins an image in an empty file; the first block is left for later.
    pub(crate) fn new(file: File, path: &Path) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER + BLOCK);
        buffer.resize(BLOCK, 0);
        Self {
            file,
            path: path.to_owned(),
            buffer,
            flushed: 0,
            inline: 0,
        }
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
            if bytes.len() >= BUFFER {
                return self.write(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let n = count.min(BLOCK as u64) as usize;
            self.append(&[0; BLOCK][..n])?;
            count -= n as u64;
        }
        Ok(())
    }

    /// Fills the block that was begun.
    pub(super) fn align(&mut self) -> Result<()> {
        self.zeros(self.position().wrapping_neg() % BLOCK as u64)
    }

    /// The number of the block that comes next.
    pub(super) fn block(&self) -> Result<u32> {
        u32::try_from(self.position() / BLOCK as u64)
            .map_err(|_| Error::limit("the size of a layer", "16 TiB"))
    }

    fn flush(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        written
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.flushed += bytes.len() as u64;
        Ok(())
    }

    /// Ends the image with the superblock in its place.
    pub(super) fn close(mut self, superblock: &[u8]) -> Result<File> {
        use std::os::unix::fs::FileExt;
        self.flush()?;
        self.file
            .write_all_at(superblock, 0)
            .map_err(|e| Error::io("write", &self.path, e))?;
        Ok(self.file)
    }

    fn copy(&mut self, mut left: u64, source: &mut dyn Source) -> Result<()> {
        while left > 0 {
            let piece = source.piece()?;
            let n = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if n == 0 {
                return Err(Error::Tar("a file's data ends early".into()));
            }
            self.append(&piece[..n])?;
            source.take(n);
            left -= n as u64;
        }
        Ok(())
    }
}

impl DataSink for ErofsSink {
    fn dense(&mut self, size: u64, source: &mut dyn Source) -> Result<Data> {
        if size <= INLINE_MAX && self.inline + size <= INLINE_TOTAL {
            self.inline += size;
            return Ok(Data::Inline(read_small(size, source)?));
        }
        let start = self.block()?;
        self.copy(size, source)?;
        self.align()?;
        self.block()?;
        Ok(Data::Blocks(start))
    }

    fn sparse(&mut self, size: u64, segments: &[Segment], source: &mut dyn Source) -> Result<Data> {
        let bits = chunk_bits(size, segments);
        let chunk = 1u64 << bits;
        let mut blocks: Vec<(u32, u32)> = Vec::new();
        // Up to where the current chunk is written.
        let mut written = 0;
        for segment in segments {
            let mut at = segment.offset;
            let end = segment.offset + segment.len;
            while at < end {
                let number = at >> bits;
                let start = number << bits;
                if blocks
                    .last()
                    .is_none_or(|&(last, _)| u64::from(last) != number)
                {
                    // The chunk before is filled up: chunks are whole.
                    self.zeros(end_of_chunk(written, size, chunk) - written)?;
                    self.align()?;
                    blocks.push((number as u32, self.block()?));
                    written = start;
                }
                self.zeros(at - written)?;
                let stop = end.min(start + chunk);
                self.copy(stop - at, source)?;
                at = stop;
                written = stop;
            }
        }
        self.zeros(end_of_chunk(written, size, chunk) - written)?;
        self.align()?;
        Ok(Data::Chunks { bits, blocks })
    }

    fn sparse_cost(&self, size: u64, segments: &[Segment]) -> u64 {
        cost(size, segments, chunk_bits(size, segments))
    }
}

/// The end of the chunk that `written` lies in or at the end of.
fn end_of_chunk(written: u64, size: u64, chunk: u64) -> u64 {
    written.next_multiple_of(chunk).min(size)
}

/// The chunk size that makes table and padding together smallest.
fn chunk_bits(size: u64, segments: &[Segment]) -> u8 {
    (BLOCK_BITS..=MAX_CHUNK_BITS)
        .min_by_key(|&bits| cost(size, segments, bits))
        .unwrap_or(BLOCK_BITS)
}

/// Bytes stored for a sparse file with chunks of this size.
fn cost(size: u64, segments: &[Segment], bits: u8) -> u64 {
    let mut next = 0;
    let mut chunks = 0u64;
    for segment in segments.iter().filter(|segment| segment.len > 0) {
        let first = (segment.offset >> bits).max(next);
        let end = ((segment.offset + segment.len - 1) >> bits) + 1;
        chunks += end.saturating_sub(first);
        next = next.max(end);
    }
    (chunks << bits).saturating_add(4 * size.div_ceil(1 << bits))
}

pub(crate) fn read_small(size: u64, source: &mut dyn Source) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(size as usize);
    while (out.len() as u64) < size {
        let piece = source.piece()?;
        if piece.is_empty() {
            return Err(Error::Tar("a file's data ends early".into()));
        }
        out.extend_from_slice(piece);
        let n = piece.len();
        source.take(n);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_chosen_to_store_little() {
        let at = |offset, len| Segment { offset, len };
        for (size, segments, bits) in [
            (8192, vec![at(0, 1)], 12),
            // Nothing but a hole: the table should be small.
            (1 << 40, vec![], 31),
            (1 << 40, vec![at(1 << 39, 1)], 21),
        ] {
            assert_eq!(chunk_bits(size, &segments), bits, "{size} {segments:?}");
        }
        // Two segments in one chunk count once.
        assert_eq!(cost(1 << 20, &[at(0, 10), at(20, 10)], 12), 4096 + 1024);
        assert_eq!(cost(1 << 20, &[at(0, 5000), at(6000, 10)], 12), 8192 + 1024);
    }
}

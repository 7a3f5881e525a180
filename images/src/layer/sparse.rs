//! Sparse files: GNU tar's own header, and the three versions of its extended
//! headers (GNU tar manual, "Storing Sparse Files").

use std::io::BufRead;

use super::header::{BLOCK, Header, Segment, gnu_sparse_block};
use super::pax::{Pax, natural, pair_up};
use super::tar::{Entry, TarReader};
use crate::error::{Error, Result};

/// Most segments of one sparse file.
const MAX_SEGMENTS: usize = 1 << 18;

impl<R: BufRead> TarReader<R> {
    /// The map of a sparse file, in whichever of four forms it comes.
    pub(super) fn sparse(&mut self, header: &Header, pax: &Pax, entry: &mut Entry) -> Result<()> {
        let segments = if header.type_flag() == b'S' {
            let (mut segments, size, mut more) = header.gnu_sparse()?;
            entry.size = size;
            while more {
                // These blocks do not count as data.
                let block = self.block()?.ok_or_else(|| self.truncated())?;
                let (further, again) = gnu_sparse_block(&block)?;
                segments.extend(further);
                check_count(segments.len())?;
                more = again;
            }
            segments
        } else if let Some(size) = pax.sparse.real_size {
            entry.size = size;
            if pax.sparse.map_in_data {
                self.map_in_data()?
            } else {
                pair_up(&pax.sparse.map)?
            }
        } else {
            return Ok(());
        };
        check_count(segments.len())?;
        check_segments(&segments, entry.size, self.left)?;
        entry.sparse = Some(
            segments
                .into_iter()
                .filter(|segment| segment.len > 0)
                .collect(),
        );
        Ok(())
    }

    /// GNU sparse format 1.0: decimal numbers, one a line, first their count,
    /// padded to a block.
    fn map_in_data(&mut self) -> Result<Vec<Segment>> {
        let mut numbers = Vec::new();
        let mut wanted = None;
        let mut line = Vec::new();
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            if self.left < BLOCK as u64 {
                return Err(Error::Tar("a sparse map is cut off".into()));
            }
            let block = self.block()?.ok_or_else(|| self.truncated())?;
            self.left -= BLOCK as u64;
            for &byte in &block {
                if wanted.is_some_and(|wanted| numbers.len() >= wanted) {
                    break;
                }
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > 20 {
                        return Err(Error::Tar("a sparse map is malformed".into()));
                    }
                    continue;
                }
                let number = natural(&line)?;
                line.clear();
                if wanted.is_some() {
                    numbers.push(number);
                } else {
                    let count = usize::try_from(number).unwrap_or(usize::MAX);
                    check_count(count)?;
                    wanted = Some(count * 2);
                }
            }
        }
        pair_up(&numbers)
    }
}

fn check_count(count: usize) -> Result<()> {
    if count > MAX_SEGMENTS {
        return Err(Error::limit(
            "the number of pieces of a sparse file",
            MAX_SEGMENTS.to_string(),
        ));
    }
    Ok(())
}

/// Segments must be in order, apart, inside the file, and as long as the data.
fn check_segments(segments: &[Segment], size: u64, data: u64) -> Result<()> {
    let mut end = 0u64;
    let mut total = 0u64;
    for segment in segments {
        let stop = segment
            .offset
            .checked_add(segment.len)
            .filter(|&stop| stop <= size);
        let (Some(stop), true) = (stop, segment.offset >= end) else {
            return Err(Error::Tar(
                "a sparse map is out of order or beyond its file".into(),
            ));
        };
        end = stop;
        total += segment.len;
    }
    if total != data {
        return Err(Error::Tar("a sparse map does not fit its data".into()));
    }
    Ok(())
}

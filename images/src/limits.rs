//! How much an archive may ask for.

use crate::error::{Error, Result};

/// Limits on one layer, against archives that are small and unpack to no end.
/// The defaults let every real image through that we know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the tar stream.
    pub entries: u64,
    /// Bytes that a layer may store, and bytes of its tar stream.
    pub total_size: u64,
    /// Apparent size of one file in bytes, holes included.
    pub file_size: u64,
    /// Bytes of names, link targets, attributes and sparse maps together: they
    /// are held in memory until a layer is done.
    pub metadata: u64,
    /// How many times larger than the compressed stream the tar stream may be,
    /// once it is beyond [`Limits::ratio_from`] bytes.
    pub ratio: u64,
    /// Bytes of tar stream from which on [`Limits::ratio`] is looked at.
    pub ratio_from: u64,
    /// Components of a path.
    pub depth: usize,
    /// Bytes of one component of a path (NAME_MAX).
    pub name: usize,
    /// Bytes of a path (PATH_MAX without its NUL).
    pub path: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            total_size: 256 << 30,
            file_size: 16 << 40,
            metadata: 512 << 20,
            ratio: 200,
            ratio_from: 512 << 20,
            depth: 512,
            name: 255,
            path: 4095,
        }
    }
}

/// What a layer has asked for so far.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    pub(crate) limits: &'a Limits,
    entries: u64,
    stored: u64,
    metadata: u64,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            entries: 0,
            stored: 0,
            metadata: 0,
        }
    }

    pub(crate) fn entry(&mut self) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::limit(
                "the number of entries",
                self.limits.entries.to_string(),
            ));
        }
        Ok(())
    }

    pub(crate) fn stored(&mut self, bytes: u64) -> Result<()> {
        self.stored = self.stored.saturating_add(bytes);
        if self.stored > self.limits.total_size {
            return Err(Error::limit(
                "the unpacked size",
                format!("{} bytes", self.limits.total_size),
            ));
        }
        Ok(())
    }

    pub(crate) fn metadata(&mut self, bytes: usize) -> Result<()> {
        self.metadata = self.metadata.saturating_add(bytes as u64);
        if self.metadata > self.limits.metadata {
            let limit = format!("{} bytes", self.limits.metadata);
            return Err(Error::limit(
                "the size of names, links and attributes",
                limit,
            ));
        }
        Ok(())
    }
}

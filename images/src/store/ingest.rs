//! A blob on its way into the store, and the layer that is made of it.

use std::io::{self, Write};

use super::Store;
use super::temp::Temp;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::layer::Compression;
use crate::layer::build::{self, Built};
use crate::layer::spool::{SpoolReader, SpoolWriter, spool};

/// Takes a blob's bytes; a reader can follow them.
pub(crate) struct BlobSink {
    temp: Temp,
    writer: SpoolWriter,
    hasher: Hasher,
    size: u64,
    head: Vec<u8>,
}

/// A blob that was read and is not in its place yet.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) temp: Temp,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) compression: Compression,
}

impl BlobSink {
    pub(crate) fn new(store: &Store) -> Result<(Self, SpoolReader)> {
        let (temp, file) = Temp::file(&store.temp_dir())?;
        let (writer, reader) = spool(file);
        Ok((
            Self {
                temp,
                writer,
                hasher: Hasher::default(),
                size: 0,
                head: Vec::new(),
            },
            reader,
        ))
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes)
            .map_err(|e| Error::io("write", self.temp.path(), e))
    }

    /// Nobody reads it any more: its layer has failed.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.writer.is_abandoned()
    }

    /// The blob is whole, and has this digest if one was promised.
    pub(crate) fn finish(self, expected: Option<Digest>) -> Result<Blob> {
        let digest = self.hasher.finish();
        if let Some(expected) = expected.filter(|&expected| expected != digest) {
            return Err(Error::DigestMismatch {
                what: format!("blob {expected}"),
                expected,
                found: digest,
            });
        }
        // What cannot be unpacked has failed as a layer; others need not be one.
        let compression = Compression::detect(&self.head).unwrap_or(Compression::None);
        self.writer.finish();
        Ok(Blob {
            temp: self.temp,
            digest,
            size: self.size,
            compression,
        })
    }
}

impl Write for BlobSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.head.len() < 8 {
            self.head.extend_from_slice(&bytes[..bytes.len().min(8)]);
        }
        self.hasher.update(bytes);
        self.writer.write(bytes)?;
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store {
    /// Makes a layer of what a spool brings and waits until both are on the
    /// disk.
    pub(crate) fn build_layer(&self, mut reader: SpoolReader) -> Result<Built> {
        let built = build::build(&mut reader, self.format(), self.limits(), &self.temp_dir())?;
        reader
            .sync()
            .map_err(|e| Error::io("write", self.temp_dir(), e))?;
        Ok(built)
    }

    /// Adds one layer, whose (compressed) tar stream `fill` writes.
    pub(crate) fn ingest(
        &self,
        fill: impl FnOnce(&mut BlobSink) -> Result<()>,
    ) -> Result<(Blob, Built)> {
        std::thread::scope(|scope| {
            let (mut sink, reader) = BlobSink::new(self)?;
            let worker = scope.spawn(|| self.build_layer(reader));
            let filled = fill(&mut sink);
            let abandoned = sink.is_abandoned();
            let blob = filled.and_then(|()| sink.finish(None));
            let built = match worker.join() {
                Ok(built) => built,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            match (blob, built) {
                // What the worker has to say is the reason why it stopped.
                (_, Err(error)) if abandoned => Err(error),
                (Err(error), _) => Err(error),
                (Ok(blob), built) => Ok((blob, built?)),
            }
        })
    }
}

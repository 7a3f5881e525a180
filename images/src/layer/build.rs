//! One pass over a layer: its digests, its limits, its content.

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use super::apply::read_layer;
use super::compress::{BUFFER, Decoder, drain};
use super::tar::TarReader;
use super::tree::Tree;
use super::unpack;
use crate::digest::{Digest, Hasher};
use crate::erofs::{self, ErofsSink};
use crate::error::{Error, Result};
use crate::limits::{Budget, Limits};
use crate::store::temp::Temp;

/// In which form layers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerFormat {
    /// One EROFS image per layer.
    Erofs,
    /// One folder per layer, where EROFS cannot be mounted.
    Directory,
}

/// A layer that was made and is not in its place yet.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) temp: Temp,
    pub(crate) diff_id: Digest,
    /// Bytes of the tar stream.
    pub(crate) size: u64,
    /// Folders that its archive only implies, each after the one it is in.
    pub(crate) implied: Vec<Implied>,
}

/// A folder that stands in no entry of its own.
#[derive(Debug)]
pub(crate) struct Implied {
    /// From the layer's root, which is empty.
    pub(crate) path: PathBuf,
    /// Where its inode is in an EROFS image.
    pub(crate) inode: u64,
}

/// Makes a layer from its tar stream, compressed or not.
pub(crate) fn build(
    source: impl Read,
    format: LayerFormat,
    limits: &Limits,
    temp_dir: &Path,
) -> Result<Built> {
    let decoder = Decoder::new(
        Counted {
            reader: source,
            bytes: 0,
        },
        "the layer",
    )?;
    let mut tar = TarReader::new(Tarstream::new(decoder, limits), "the layer");
    let mut budget = Budget::new(limits);
    let made = match format {
        LayerFormat::Erofs => erofs(&mut tar, &mut budget, temp_dir),
        LayerFormat::Directory => unpack::directory(&mut tar, &mut budget, temp_dir)
            .map(|(temp, implied)| Made::Directory(temp, implied)),
    };
    let made = match made {
        Ok(made) => made,
        // The parser sees only that the stream failed, the stream knows why.
        Err(error) => return Err(tar.into_inner().refusal.take().unwrap_or(error)),
    };
    let mut stream = tar.into_inner();
    if let Err(source) = drain(&mut stream) {
        let error = Error::Read {
            what: "the layer".into(),
            source,
        };
        return Err(stream.refusal.take().unwrap_or(error));
    }
    let size = stream.total;
    let diff_id = stream.hasher.finish();
    let (temp, implied) = match made {
        Made::Directory(temp, implied) => (temp, implied),
        Made::Erofs(temp, sink, tree) => {
            // The image's UUID comes from what it holds.
            let mut uuid = [0; 16];
            uuid.copy_from_slice(&diff_id.bytes()[..16]);
            let (file, implied) = erofs::finish(sink, &tree, uuid)?;
            file.sync_data()
                .map_err(|e| Error::io("write", temp.path(), e))?;
            (temp, implied)
        }
    };
    Ok(Built {
        temp,
        diff_id,
        size,
        implied,
    })
}

enum Made {
    Directory(Temp, Vec<Implied>),
    /// Without inodes and superblock yet.
    Erofs(Temp, ErofsSink, Tree),
}

fn erofs<R: BufRead>(
    tar: &mut TarReader<R>,
    budget: &mut Budget<'_>,
    temp_dir: &Path,
) -> Result<Made> {
    let (temp, file) = Temp::file(temp_dir)?;
    let mut sink = ErofsSink::new(file, temp.path());
    let tree = read_layer(tar, &mut sink, budget)?;
    Ok(Made::Erofs(temp, sink, tree))
}

/// Counts the compressed bytes.
struct Counted<R> {
    reader: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }
}

/// The tar stream, hashed as it passes, and stopped when it grows beyond what
/// the limits allow.
struct Tarstream<'a, R: Read> {
    decoder: Decoder<Counted<R>>,
    limits: &'a Limits,
    hasher: Hasher,
    total: u64,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    refusal: Option<Error>,
}

impl<'a, R: Read> Tarstream<'a, R> {
    fn new(decoder: Decoder<Counted<R>>, limits: &'a Limits) -> Self {
        let hasher = Hasher::default();
        let buffer = vec![0; BUFFER];
        Self {
            decoder,
            limits,
            hasher,
            total: 0,
            buffer,
            start: 0,
            end: 0,
            refusal: None,
        }
    }

    fn check(&mut self) -> io::Result<()> {
        let compressed = self.decoder.inner().bytes.max(1);
        let ratio = self.total / compressed;
        // Headers and padding come on top of what may be stored.
        if self.total > self.limits.total_size.saturating_mul(2) {
            let limit = format!("{} bytes", self.limits.total_size.saturating_mul(2));
            self.refusal = Some(Error::limit("the size of the tar stream", limit));
        } else if self.total > self.limits.ratio_from && ratio > self.limits.ratio {
            let limit = format!("{} to 1", self.limits.ratio);
            self.refusal = Some(Error::limit(
                "the ratio of unpacked to compressed size",
                limit,
            ));
        }
        match self.refusal {
            Some(_) => Err(io::Error::other("refused")),
            None => Ok(()),
        }
    }
}

impl<R: Read> Read for Tarstream<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buf.len());
        buf[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Tarstream<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            let n = loop {
                match self.decoder.read(&mut self.buffer) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    other => break other?,
                }
            };
            self.hasher.update(&self.buffer[..n]);
            self.total += n as u64;
            (self.start, self.end) = (0, n);
            self.check()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }
}

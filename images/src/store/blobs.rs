//! Blobs: files named by the digest of their content.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::Store;
use super::temp::Temp;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::layer::build::{self, Built};

/// Manifests and configurations beyond this are refused, as registries do.
pub(crate) const MAX_DOCUMENT: u64 = 8 << 20;

impl Store {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_dir().join(digest.hex())
    }

    /// Reads a manifest or configuration and checks its digest.
    pub(crate) fn read_document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let file = self.open_blob(digest)?;
        let mut content = Vec::new();
        file.take(MAX_DOCUMENT + 1)
            .read_to_end(&mut content)
            .map_err(|e| Error::io("read", &path, e))?;
        let found = Digest::of(&content);
        if found != *digest {
            return Err(Error::BlobDamaged {
                digest: *digest,
                found,
            });
        }
        Ok(content)
    }

    /// Opens a blob. The reader must check its digest: see [`Checked`].
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::BlobMissing(*digest),
            _ => Error::io("open", &path, e),
        })
    }

    /// Writes a manifest or configuration, not in its place yet.
    pub(crate) fn stage(&self, content: &[u8]) -> Result<Temp> {
        let (temp, mut file) = Temp::file(&self.temp_dir())?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.map_err(|e| Error::io("write", temp.path(), e))?;
        Ok(temp)
    }

    /// Makes the layer of a blob anew, checking both of its digests.
    pub(crate) fn rebuild_layer(&self, blob: &Digest, diff_id: &Digest) -> Result<Built> {
        let mut checked = Checked::new(self.open_blob(blob)?);
        let built = build::build(&mut checked, self.format(), self.limits(), &self.temp_dir());
        // A damaged blob fails in many ways; its digest tells the reason.
        let found = checked
            .finish()
            .map_err(|e| Error::io("read", self.blob_path(blob), e))?;
        if found != *blob {
            return Err(Error::BlobDamaged {
                digest: *blob,
                found,
            });
        }
        let built = built.map_err(|e| e.in_layer(blob.to_string()))?;
        if built.diff_id != *diff_id {
            let what = format!("the content of layer {blob}");
            let (expected, found) = (*diff_id, built.diff_id);
            return Err(Error::DigestMismatch {
                what,
                expected,
                found,
            });
        }
        Ok(built)
    }
}

/// Hashes what is read through it.
pub(crate) struct Checked<R> {
    reader: R,
    hasher: Hasher,
}

impl<R: Read> Checked<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            hasher: Hasher::default(),
        }
    }

    /// Reads what is left and gives the digest of all.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        self.hasher.update(&buf[..n]);
        Ok(n)
    }
}

/// Bytes of a file or 0.
pub(crate) fn size_of(path: &std::path::Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 })
}

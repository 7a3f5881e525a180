//! Reads an archive in one pass, from a file or a pipe.
//!
//! The order of an archive's entries is not fixed and its manifest often comes
//! last, so what looks like a layer is made into one at once; what turns out not
//! to belong to an image is thrown away.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use super::check::{Checked, Contents};
use super::documents::{Documents, blob_name, normal};
use super::workers::Workers;
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::layer::Compression;
use crate::layer::compress::{BUFFER, Decoder};
use crate::layer::header::Header;
use crate::layer::packed::as_layer;
use crate::layer::tar::{EntryKind, TarReader};
use crate::reference::Reference;
use crate::store::Store;
use crate::store::index::Entry;
use crate::store::ingest::{Blob, BlobSink};
use crate::store::temp::Temp;
use crate::whole::Whole;

/// Bytes of all small files of an archive together.
const MAX_DOCUMENTS: u64 = 64 << 20;
/// Bytes of one.
pub(super) const MAX_DOCUMENT: u64 = 8 << 20;

/// What a load is doing, for the user's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// So many bytes of the (decompressed) archive were read.
    Read {
        /// Bytes.
        bytes: u64,
    },
    /// A layer is ready.
    Layer {
        /// Its diff id.
        diff_id: Digest,
        /// Bytes of its tar stream.
        size: u64,
    },
}

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: ImageId,
    /// The names that it has got; none if the archive names none.
    pub references: Vec<Reference>,
}

impl Store {
    /// Adds the images of an archive: an OCI image layout or what `docker save`
    /// writes, now or in older versions, plain or compressed by gzip, Zstandard, xz or
    /// bzip2.
    /// Either all of its images are added or none.
    pub fn load(
        &self,
        archive: impl Read,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<Loaded>> {
        let lock = self.share_content()?;
        let loaded = self.load_locked(archive, progress);
        drop(lock);
        match &loaded {
            Ok(all) => all
                .iter()
                .for_each(|image| self.tell("load", &image.id, image.references.first())),
            Err(_) => self.tidy_up(),
        }
        loaded
    }

    fn load_locked(
        &self,
        archive: impl Read,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<Loaded>> {
        let mut contents = self.read_archive(archive, progress)?;
        let found = contents
            .documents
            .images(&|name| contents.blobs.contains_key(name))?;
        let checked = found
            .into_iter()
            .map(|found| contents.check(found))
            .collect::<Result<Vec<_>>>()?;
        self.commit(contents, checked)
    }

    fn read_archive(
        &self,
        archive: impl Read,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Contents> {
        std::thread::scope(|scope| {
            let archive = as_layer(archive).map_err(|source| Error::Read {
                what: "the archive".into(),
                source,
            })?;
            let decoder = Decoder::new(archive, "the archive")?;
            let mut tar = TarReader::new(BufReader::with_capacity(BUFFER, decoder), "the archive");
            let mut reading = Reading {
                store: self,
                workers: Workers::start(scope, self, progress),
                documents: Documents::default(),
                document_bytes: 0,
                blobs: HashMap::new(),
                bytes: 0,
                progress,
            };
            while let Some(entry) = tar.next_entry()? {
                let name = normal(&String::from_utf8_lossy(&entry.path));
                match entry.kind {
                    EntryKind::File if entry.sparse.is_none() => reading.file(name, &mut tar)?,
                    EntryKind::Symlink | EntryKind::HardLink => {
                        reading.link(name, &String::from_utf8_lossy(&entry.link), entry.kind)?;
                    }
                    _ => {}
                }
            }
            let Reading {
                workers,
                documents,
                blobs,
                ..
            } = reading;
            Ok(Contents {
                documents,
                blobs,
                layers: workers.finish(),
            })
        })
    }

    /// Puts blobs and layers in their places, image by image from the lowest
    /// layer up.
    fn place_layers(&self, contents: &mut Contents, images: &[Checked]) -> Result<()> {
        let mut placed: HashSet<PathBuf> = HashSet::new();
        for image in images {
            let mut below = self.lowest();
            for layer in &image.layers {
                if let Some(blob) = contents.blobs.remove(&layer.name) {
                    blob.temp.persist(&self.blob_path(&blob.digest))?;
                }
                let known = below.find(&layer.diff_id, |path| placed.contains(path));
                let path = match (known, contents.layers.remove(&layer.name)) {
                    (Some(path), _) => path,
                    (None, Some(Ok(built))) => below.place(built)?,
                    // The same layer above others leans on those.
                    (None, _) => below.place(self.rebuild_layer(&layer.blob, &layer.diff_id)?)?,
                };
                placed.insert(path.clone());
                below.push(&layer.diff_id, path);
            }
        }
        Ok(())
    }

    /// Puts what an index leads to beyond its image in its place, and gives what
    /// of it is small.
    fn place_others(&self, contents: &mut Contents, whole: &Whole) -> Result<Vec<(Digest, Temp)>> {
        let mut documents = Vec::new();
        for listed in &whole.documents {
            documents.push((listed.digest, self.stage(&listed.bytes)?));
        }
        for blob in &whole.blobs {
            let digest = blob.digest;
            if let Some(blob) = contents.blobs.remove(&blob_name(&digest)) {
                blob.temp.persist(&self.blob_path(&digest))?;
            } else if let Ok(content) = contents.documents.blob(&digest) {
                documents.push((digest, self.stage(content)?));
            }
        }
        Ok(documents)
    }

    /// Puts everything in its place: content first, the index last.
    pub(super) fn commit(
        &self,
        mut contents: Contents,
        images: Vec<Checked>,
    ) -> Result<Vec<Loaded>> {
        let mut documents = Vec::new();
        for image in &images {
            for content in [&image.manifest, &image.found.config] {
                documents.push((Digest::of(content), self.stage(content)?));
            }
        }
        self.place_layers(&mut contents, &images)?;
        let wholes = images.iter().filter_map(|image| image.found.whole.as_ref());
        for whole in wholes {
            documents.extend(self.place_others(&mut contents, whole)?);
        }
        for (digest, temp) in documents {
            temp.persist(&self.blob_path(&digest))?;
        }
        self.change_index(|index| {
            for image in &images {
                index.add(image.entry.clone());
                for reference in &image.found.references {
                    let reference = Some(reference.without_digest()).filter(|r| r.tag().is_some());
                    index.add(Entry {
                        reference,
                        ..image.entry.clone()
                    });
                }
            }
            Ok(())
        })?;
        let loaded = |image: Checked| Loaded {
            id: image.entry.id,
            references: image.found.references,
        };
        Ok(images.into_iter().map(loaded).collect())
    }
}

struct Reading<'a> {
    store: &'a Store,
    workers: Workers,
    documents: Documents,
    document_bytes: u64,
    blobs: HashMap<String, Blob>,
    bytes: u64,
    progress: &'a (dyn Fn(Progress) + Sync),
}

/// What a file of an archive looks like.
enum Looks {
    Layer,
    Document,
    Nothing,
}

impl Reading<'_> {
    fn file<R: BufRead>(&mut self, name: String, tar: &mut TarReader<R>) -> Result<()> {
        // The first bytes, which a short read may not all give at once.
        let mut head = Vec::new();
        while head.len() < 512 {
            let piece = tar.data()?;
            if piece.is_empty() {
                break;
            }
            let n = piece.len().min(512 - head.len());
            head.extend_from_slice(&piece[..n]);
            tar.consume(n);
        }
        let size = head.len() as u64 + tar.left();
        match looks(&head, size, &name)? {
            Looks::Layer => self.blob(name, &head, tar),
            Looks::Document => {
                self.document_bytes += size;
                if size > MAX_DOCUMENT || self.document_bytes > MAX_DOCUMENTS {
                    return Err(Error::limit(
                        "the size of the archive's documents",
                        format!("{MAX_DOCUMENTS} bytes"),
                    ));
                }
                head.extend(tar.read_all(MAX_DOCUMENT)?);
                self.documents.files.insert(name, head);
                Ok(())
            }
            Looks::Nothing => Ok(()),
        }
    }

    fn blob<R: BufRead>(
        &mut self,
        name: String,
        head: &[u8],
        tar: &mut TarReader<R>,
    ) -> Result<()> {
        let (mut sink, reader) = BlobSink::new(self.store)?;
        self.workers.add(&name, reader);
        sink.put(head)?;
        loop {
            let piece = tar.data()?;
            if piece.is_empty() {
                break;
            }
            sink.put(piece)?;
            let n = piece.len();
            self.bytes += n as u64;
            tar.consume(n);
            (self.progress)(Progress::Read { bytes: self.bytes });
        }
        let expected = name
            .strip_prefix("blobs/sha256/")
            .and_then(Digest::from_hex);
        let blob = sink.finish(expected)?;
        self.blobs.insert(name, blob);
        Ok(())
    }

    fn link(&mut self, name: String, target: &str, kind: EntryKind) -> Result<()> {
        self.document_bytes += (name.len() + target.len()) as u64;
        if self.document_bytes > MAX_DOCUMENTS {
            return Err(Error::limit(
                "the size of the archive's documents",
                format!("{MAX_DOCUMENTS} bytes"),
            ));
        }
        let target = match kind {
            // Relative to the link's folder.
            EntryKind::Symlink => beside(&name, target),
            _ => normal(target),
        };
        self.documents.links.insert(name, target);
        Ok(())
    }
}

/// These are only names to look up in the archive; they open nothing.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn looks(head: &[u8], size: u64, name: &str) -> Result<Looks> {
    match Compression::detect(head) {
        Ok(Compression::None) => {}
        Ok(_) => return Ok(Looks::Layer),
        // Something else that is compressed: wrong only where a layer must be.
        Err(_) if size <= MAX_DOCUMENT && !name.ends_with("layer.tar") => {
            return Ok(Looks::Nothing);
        }
        Err(error) => return Err(error.in_layer(name)),
    }
    let block: Option<[u8; 512]> = head.try_into().ok();
    // An empty layer is all zeros.
    if block.is_some_and(|block| Header::parse(block).is_ok()) {
        return Ok(Looks::Layer);
    }
    let json = matches!(head.trim_ascii_start(), [b'{' | b'[', ..]);
    let small = size <= 64 << 10;
    Ok(if (json && size <= MAX_DOCUMENT) || small {
        Looks::Document
    } else {
        Looks::Nothing
    })
}

//! Layers and images that are made here, step by step: by builds and commits.
//!
//! What a build has made so far belongs to no image yet. A [`Lease`] keeps it from
//! being swept while the build goes on; a record of a build's step keeps it for the
//! next build until records are pruned.

mod lease;
mod records;

use std::io::{self, Write};

use flate2::Compression as Level;
use flate2::GzBuilder;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::archive::new_manifest;
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::image::{self, Image, Layer, LayerForm};
use crate::layer::Compression;
use crate::layer::build::LayerFormat;
use crate::layer::write::TarWriter;
use crate::limits::Limits;
use crate::reference::Reference;
use crate::registry::{Platform, PlatformOf};
use crate::store::Store;
use crate::store::blobs::size_of;
use crate::store::index::{Entry, INDEX_TYPE, MANIFEST_TYPE, Origin};
use crate::store::ingest::{Blob, BlobSink};

pub use lease::Lease;
pub use records::{BuildRecord, Pruned};

/// Data of files comes in pieces of this size.
const BUFFER: usize = 256 << 10;

/// A layer of an image that is being made: what can be mounted, and the blob that it
/// was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeLayer {
    /// What can be mounted.
    pub layer: Layer,
    /// The blob.
    pub blob: LayerBlob,
}

/// A layer's blob, as an image's documents tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// Digest of the uncompressed tar stream.
    pub diff_id: Digest,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the tar stream.
    pub unpacked: u64,
    /// How the blob is compressed.
    pub compression: Compression,
}

/// An image to build on.
#[derive(Clone, Debug)]
pub struct Base {
    /// The image.
    pub image: Image,
    /// Its configuration as it is in the store.
    pub config: Vec<u8>,
    /// Its layers, the lowest first.
    pub layers: Vec<MadeLayer>,
}

/// An image that was made, before the store has its documents.
#[derive(Clone, Debug)]
pub struct MadeImage<'a> {
    /// Its configuration, a JSON document.
    pub config: &'a [u8],
    /// Its layers, the lowest first.
    pub layers: Vec<LayerBlob>,
    /// When it was made (RFC 3339).
    pub created: Option<String>,
}

/// What was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The image, or of several the one that stands for all.
    pub image: ImageId,
    /// What it is known by: the image's id, or the index's digest.
    pub id: Digest,
}

impl Added {
    fn of(entry: &Entry) -> Added {
        Added {
            image: entry.id,
            id: entry.origin.map_or(entry.id, |origin| origin.digest),
        }
    }
}

/// Where a layer's tar stream is written to.
pub type LayerWriter<'a> = TarWriter<&'a mut dyn Write>;

impl Store {
    /// Makes a layer out of the tar stream that `fill` writes, above `below`. The
    /// archive's end is written for it.
    ///
    /// # Errors
    /// Those of `fill`; a layer beyond the limits; a full disk. Nothing is left then.
    pub fn make_layer<E: From<Error>>(
        &self,
        lease: &Lease,
        below: &[MadeLayer],
        fill: impl FnOnce(&mut LayerWriter<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<MadeLayer, E> {
        let store = self.clone().with_limits(Limits {
            // Nobody sent this to fill the disk: what is made is at hand already.
            ratio: u64::MAX,
            ..self.limits().clone()
        });
        let _lock = store.share_content()?;
        let mut refused = None;
        let made = store.ingest(|sink| {
            write_compressed(sink, fill).map_err(|error| match error {
                Failed::Fill(error) => {
                    refused = Some(error);
                    Error::Write(io::Error::other("the layer's maker failed"))
                }
                Failed::Write(error) => Error::Write(error),
            })
        });
        let (blob, built) = match (made, refused) {
            (Err(Error::Write(_)), Some(refused)) => return Err(refused),
            (made, _) => made?,
        };
        let (diff_id, unpacked) = (built.diff_id, built.size);
        let mut at = store.lowest();
        for made in below {
            at.push(&made.layer.diff_id, made.layer.path().to_owned());
        }
        let Blob {
            temp,
            digest,
            size,
            compression,
        } = blob;
        lease.keep(&[store.blob_path(&digest)])?;
        lease.keep(&at.candidates(&diff_id))?;
        temp.persist(&store.blob_path(&digest))?;
        let path = at.place(built)?;
        Ok(MadeLayer {
            layer: store.mountable(path, diff_id),
            blob: LayerBlob {
                diff_id,
                digest,
                size,
                unpacked,
                compression,
            },
        })
    }

    /// Finds an image to build on, and keeps it while the lease lives.
    ///
    /// # Errors
    /// As [`Store::resolve`].
    pub fn base(&self, lease: &Lease, name: &str) -> Result<Base> {
        let pinned = self.resolve(name)?;
        let document = self.read_document(&pinned.manifest)?;
        let manifest = image::parse_manifest(&document)?;
        let config = self.read_document(&manifest.config)?;
        let mut keep = vec![
            self.blob_path(&pinned.manifest),
            self.blob_path(&manifest.config),
        ];
        let mut layers = Vec::new();
        for (layer, blob) in pinned.layers.iter().zip(&manifest.layers) {
            let path = self.blob_path(blob);
            let mut head = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(self.open_blob(blob)?, 8), &mut head)
                .map_err(|e| Error::io("read", &path, e))?;
            layers.push(MadeLayer {
                layer: layer.clone(),
                blob: LayerBlob {
                    diff_id: layer.diff_id,
                    digest: *blob,
                    size: size_of(&path),
                    unpacked: layer.size,
                    compression: Compression::detect(&head)?,
                },
            });
            keep.extend([path, layer.path().to_owned()]);
        }
        lease.keep(&keep)?;
        Ok(Base {
            config,
            layers,
            image: pinned.into_image(),
        })
    }

    /// Makes a tar archive, compressed or not, something that can be read file by file,
    /// for as long as the lease lives. Nothing of it is laid out on the host.
    ///
    /// # Errors
    /// As for a layer of an image.
    pub fn keep_archive(&self, lease: &Lease, archive: impl io::Read) -> Result<Layer> {
        let _lock = self.share_content()?;
        let mut archive = archive;
        let (_blob, built) = self.ingest(|sink| crate::import::copy(&mut archive, sink))?;
        let diff_id = built.diff_id;
        let at = self.lowest();
        lease.keep(&at.candidates(&diff_id))?;
        let path = at.place(built)?;
        Ok(self.mountable(path, diff_id))
    }

    /// Adds what was made under all of the names: an image, or several for different
    /// platforms with an index above them.
    ///
    /// # Errors
    /// The store can't be written; there is no image.
    pub fn add_made(&self, images: &[MadeImage<'_>], names: &[Reference]) -> Result<Added> {
        let _lock = self.share_content()?;
        let entry = self.made_entry(images)?;
        self.change_index(|index| {
            if names.is_empty() {
                index.add(entry.clone());
            }
            for name in names {
                index.add(Entry {
                    reference: Some(name.without_digest()),
                    ..entry.clone()
                });
            }
            Ok(())
        })?;
        for name in names {
            self.tell("tag", &entry.id, Some(name));
        }
        Ok(Added::of(&entry))
    }

    /// Writes what was made as an archive, under the names in it. The store's own images
    /// stay as they are.
    ///
    /// # Errors
    /// The store or `out` can't be written; there is no image.
    pub fn save_made(
        &self,
        images: &[MadeImage<'_>],
        names: &[Reference],
        out: impl Write,
    ) -> Result<Added> {
        let lock = self.share_content()?;
        let entry = self.made_entry(images)?;
        let saved = self.save_entry(&entry, names.to_vec(), out);
        drop(lock);
        // Its documents belong to nothing here.
        self.tidy_up();
        saved.map(|()| Added::of(&entry))
    }

    /// Puts documents into the store; nothing names them yet. Several images are those of
    /// an index, which this machine's stands for.
    fn made_entry(&self, images: &[MadeImage<'_>]) -> Result<Entry> {
        let mut made = Vec::new();
        for image in images {
            let entry = self.image_entry(image)?;
            made.push((Platform::of_config(image.config)?, entry));
        }
        let native = Platform::native();
        let own = made.iter().position(|(it, _)| it.serves(&native));
        let (_, entry) = made
            .get(own.unwrap_or(0))
            .ok_or_else(|| Error::document("what was made", "there is no image"))?;
        if made.len() == 1 {
            return Ok(entry.clone());
        }
        let manifests: Vec<_> = made.iter().map(listed).collect();
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests,
        });
        let index = index.to_string().into_bytes();
        let digest = Digest::of(&index);
        self.stage(&index)?.persist(&self.blob_path(&digest))?;
        let origin = Origin {
            digest,
            whole: true,
        };
        Ok(Entry {
            origin: Some(origin),
            ..entry.clone()
        })
    }

    fn image_entry(&self, image: &MadeImage<'_>) -> Result<Entry> {
        let MadeImage { config, layers, .. } = image;
        let blobs: Vec<_> = layers
            .iter()
            .map(|layer| (layer.digest, layer.size, layer.compression))
            .collect();
        let manifest = new_manifest(config, &blobs)?;
        let entry = Entry {
            manifest: Digest::of(&manifest),
            manifest_size: manifest.len() as u64,
            media_type: MANIFEST_TYPE.into(),
            id: Digest::of(config),
            reference: None,
            origin: None,
            created: image.created.clone(),
            size: layers.iter().map(|layer| layer.unpacked).sum(),
        };
        for (digest, content) in [(entry.id, *config), (entry.manifest, &manifest[..])] {
            self.stage(content)?.persist(&self.blob_path(&digest))?;
        }
        Ok(entry)
    }

    pub(crate) fn mountable(&self, path: std::path::PathBuf, diff_id: Digest) -> Layer {
        let size = size_of(&path);
        let form = match self.format() {
            LayerFormat::Erofs => LayerForm::Erofs(path),
            LayerFormat::Directory => LayerForm::Directory(path),
        };
        Layer {
            diff_id,
            form,
            size,
        }
    }
}

/// An image as an index lists it (OCI image specification, "Image Index").
fn listed((platform, entry): &(Platform, Entry)) -> serde_json::Value {
    json!({
        "mediaType": entry.media_type, "digest": entry.manifest,
        "size": entry.manifest_size, "platform": PlatformOf::from(platform),
    })
}

enum Failed<E> {
    Fill(E),
    Write(io::Error),
}

/// gzip at its fastest: every tool reads it, and the same content gives the same bytes.
fn write_compressed<E>(
    sink: &mut BlobSink,
    fill: impl FnOnce(&mut LayerWriter<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), Failed<E>> {
    let encoder = GzBuilder::new().mtime(0).write(sink, Level::fast());
    let mut out = io::BufWriter::with_capacity(BUFFER, encoder);
    let mut tar = TarWriter::new(&mut out as &mut dyn Write);
    fill(&mut tar).map_err(Failed::Fill)?;
    tar.finish().map(drop).map_err(Failed::Write)?;
    let encoder = out
        .into_inner()
        .map_err(|e| Failed::Write(e.into_error()))?;
    encoder.finish().map(drop).map_err(Failed::Write)
}

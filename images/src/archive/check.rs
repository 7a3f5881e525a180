//! Checks that the parts of an archive's images fit together.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType, SCHEMA_VERSION};

use super::documents::{Documents, Found};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image;
use crate::layer::Compression;
use crate::layer::build::Built;
use crate::store::index::{Entry, Origin};
use crate::store::ingest::Blob;
use crate::whole::Whole;

/// All that a pass over the archive gives.
pub(super) struct Contents {
    pub(super) documents: Documents,
    pub(super) blobs: HashMap<String, Blob>,
    pub(super) layers: HashMap<String, Result<Built>>,
}

/// An image whose parts were all checked.
pub(super) struct Checked {
    pub(super) found: Found,
    pub(super) entry: Entry,
    pub(super) manifest: Vec<u8>,
    /// Lowest first.
    pub(super) layers: Vec<CheckedLayer>,
}

/// A layer of such an image.
pub(super) struct CheckedLayer {
    /// Its name in the archive, links followed.
    pub(super) name: String,
    pub(super) blob: Digest,
    pub(super) diff_id: Digest,
}

impl Contents {
    /// Checks that an image's layers are there and are those that its
    /// configuration promises.
    pub(super) fn check(&mut self, found: Found) -> Result<Checked> {
        let config = image::parse_config(&found.config)?;
        if config.diff_ids.len() != found.layers.len() {
            let reason = format!(
                "an image has {} layers, but its configuration tells of {}",
                found.layers.len(),
                config.diff_ids.len()
            );
            return Err(Error::Archive(reason));
        }
        let mut size = 0;
        let mut blobs = Vec::new();
        let mut layers = Vec::new();
        for (name, expected) in found.layers.iter().zip(&config.diff_ids) {
            let name = self.documents.follow(name);
            let missing = || Error::Archive(format!("the layer `{name}` is missing in it"));
            let blob = self.blobs.get(name).ok_or_else(missing)?;
            let built = match self.layers.get(name).ok_or_else(missing)? {
                Ok(built) => built,
                Err(_) => {
                    let name = name.to_owned();
                    return Err(self.take_error(&name));
                }
            };
            if built.diff_id != *expected {
                let what = format!("the content of layer `{name}`");
                return Err(Error::DigestMismatch {
                    what,
                    expected: *expected,
                    found: built.diff_id,
                });
            }
            size += built.size;
            blobs.push((blob.digest, blob.size, blob.compression));
            layers.push(CheckedLayer {
                name: name.to_owned(),
                blob: blob.digest,
                diff_id: built.diff_id,
            });
        }
        let manifest = match &found.manifest {
            Some(manifest) => manifest.clone(),
            None => new_manifest(&found.config, &blobs)?,
        };
        let entry = Entry {
            manifest: Digest::of(&manifest),
            manifest_size: manifest.len() as u64,
            media_type: image::parse_manifest(&manifest)?.media_type,
            id: Digest::of(&found.config),
            reference: None,
            created: config.config.created().clone(),
            size,
            origin: found.whole.as_ref().map(whole_origin).transpose()?,
        };
        Ok(Checked {
            found,
            entry,
            manifest,
            layers,
        })
    }

    fn take_error(&mut self, name: &str) -> Error {
        match self.layers.remove(name) {
            Some(Err(error)) => error.in_layer(name),
            _ => Error::Archive(format!("the layer `{name}` is missing in it")),
        }
    }
}

fn whole_origin(whole: &Whole) -> Result<Origin> {
    let digest = whole.top()?.digest;
    let whole = true;
    Ok(Origin { digest, whole })
}

/// The manifest of an image that came without one. The same image always gets
/// the same.
pub(crate) fn new_manifest(
    config: &[u8],
    layers: &[(Digest, u64, Compression)],
) -> Result<Vec<u8>> {
    let malformed = |e: oci_spec::OciSpecError| Error::document("the new manifest", e);
    let layer = |&(digest, size, compression): &(Digest, u64, Compression)| {
        let media_type = match compression {
            Compression::None => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        };
        descriptor(media_type, size, digest)
    };
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(
            MediaType::ImageConfig,
            config.len() as u64,
            Digest::of(config),
        )?)
        .layers(layers.iter().map(layer).collect::<Result<Vec<_>>>()?)
        .build()
        .map_err(malformed)?;
    manifest
        .to_string()
        .map(String::into_bytes)
        .map_err(malformed)
}

fn descriptor(media_type: MediaType, size: u64, digest: Digest) -> Result<Descriptor> {
    let digest: oci_spec::image::Digest = digest
        .to_string()
        .parse()
        .map_err(|e| Error::document("a digest", e))?;
    Ok(Descriptor::new(media_type, size, digest))
}

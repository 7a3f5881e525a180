//! Which image needs which blob.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::path::PathBuf;

use super::blobs::Blobs;
use super::{Finding, Mended};
use crate::digest::Digest;
use crate::image;
use crate::registry::manifest::Document;
use crate::store::Store;
use crate::store::blobs::MAX_DOCUMENT;
use crate::store::index::{Entry, INDEX_TYPE, Index};
use crate::store::usage::layer_size;
use crate::whole::{Listed, walk};

/// What all images need.
#[derive(Default)]
pub(super) struct Needs {
    /// Names or ids of the images, by blob.
    pub(super) by_digest: BTreeMap<Digest, Vec<String>>,
    /// The layers of each image that is to be run.
    pub(super) chains: Vec<Chain>,
    /// Documents that do not fit together.
    pub(super) wrong: Vec<Finding>,
}

/// An image's layers.
pub(super) struct Chain {
    pub(super) image: String,
    /// Blob and diff id, lowest first.
    pub(super) layers: Vec<(Digest, Digest)>,
}

impl Needs {
    /// Reads the documents of all images; those that cannot be read were found to
    /// be damaged.
    pub(super) fn of(store: &Store, index: &Index, blobs: &Blobs) -> Self {
        let mut needs = Self::default();
        let mut seen = HashSet::new();
        for entry in &index.entries {
            let image = entry.shown();
            needs.index(store, entry, &image);
            let known = !seen.insert(entry.manifest);
            if let Err(wrong) = needs.image(store, entry, &image, known, blobs) {
                needs.wrong.push(Finding {
                    file: PathBuf::from("blobs/sha256").join(entry.manifest.hex()),
                    wrong,
                    images: vec![image],
                    mended: Mended::No,
                });
            }
        }
        needs
    }

    /// The images that need the blob in a file.
    pub(super) fn of_file(&self, name: &OsStr) -> Vec<String> {
        let digest = name.to_str().and_then(Digest::from_hex);
        let images = digest.and_then(|digest| self.by_digest.get(&digest));
        images.cloned().unwrap_or_default()
    }

    fn need(&mut self, digest: Digest, image: &str) {
        let images = self.by_digest.entry(digest).or_default();
        if !images.iter().any(|known| known == image) {
            images.push(image.to_owned());
        }
    }

    /// Everything of an index that is kept. What stands in a document that
    /// cannot be read is not known; pulling it again brings it.
    fn index(&mut self, store: &Store, entry: &Entry, image: &str) {
        let Some(origin) = entry.origin.filter(|origin| origin.whole) else {
            return;
        };
        self.need(origin.digest, image);
        let Ok(bytes) = store.read_document(&origin.digest) else {
            return;
        };
        let top = Listed::new(origin.digest, bytes, Some(INDEX_TYPE));
        let whole = walk(top, &mut |found| {
            self.need(found.digest, image);
            store.read_document(&found.digest)
        });
        for blob in whole.iter().flat_map(|whole| &whole.blobs) {
            self.need(blob.digest, image);
        }
    }

    /// An image's own blobs and layers. What does not fit together is told.
    fn image(
        &mut self,
        store: &Store,
        entry: &Entry,
        image: &str,
        known: bool,
        blobs: &Blobs,
    ) -> Result<(), String> {
        self.need(entry.manifest, image);
        let Ok(bytes) = store.read_document(&entry.manifest) else {
            return Ok(());
        };
        let manifest = image::parse_manifest(&bytes).map_err(|e| e.to_string())?;
        for digest in manifest.layers.iter().chain([&manifest.config]) {
            self.need(*digest, image);
        }
        if known || manifest.artifact.is_some() || !blobs.is_healthy(&manifest.config) {
            return Ok(());
        }
        let config = store
            .read_document(&manifest.config)
            .map_err(|e| e.to_string())?;
        let config = image::parse_config(&config).map_err(|e| e.to_string())?;
        if config.diff_ids.len() != manifest.layers.len() {
            return Err("manifest and configuration differ in layers".into());
        }
        self.chains.push(Chain {
            image: image.to_owned(),
            layers: manifest.layers.into_iter().zip(config.diff_ids).collect(),
        });
        Ok(())
    }
}

/// The images whose manifests, configurations and layers are all there.
pub(super) fn nameless(store: &Store, blobs: &Blobs) -> Vec<Entry> {
    let digests = blobs.healthy().into_iter();
    let entries = digests.filter_map(|digest| {
        let size = std::fs::metadata(store.blob_path(&digest)).ok()?.len();
        if size > MAX_DOCUMENT {
            return None;
        }
        let listed = Listed::new(digest, store.read_document(&digest).ok()?, None);
        let Document::Manifest {
            config,
            layers,
            artifact,
        } = listed.parse().ok()?
        else {
            return None;
        };
        let here = |digest: &Digest| blobs.is_healthy(digest);
        if artifact.is_some() || !here(&config.digest) || !layers.iter().all(|l| here(&l.digest)) {
            return None;
        }
        let parsed = image::parse_config(&store.read_document(&config.digest).ok()?).ok()?;
        let mut below = store.lowest();
        let mut total = 0;
        for diff_id in &parsed.diff_ids {
            let path = below.existing(diff_id).unwrap_or_default();
            total += layer_size(&path);
            below.push(diff_id, path);
        }
        Some(Entry {
            manifest: digest,
            manifest_size: listed.bytes.len() as u64,
            media_type: listed.media_type,
            id: config.digest,
            reference: None,
            created: parsed.config.created().clone(),
            size: total,
            origin: None,
        })
    });
    entries.collect()
}

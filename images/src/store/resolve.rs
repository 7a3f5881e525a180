//! From what the user typed to an image.

use std::ops::Deref;
use std::path::PathBuf;

use super::Store;
use super::blobs::size_of;
use super::index::{Entry, Index};
use super::lock::Lock;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{self, Image, Layer, LayerForm};
use crate::layer::build::LayerFormat;
use crate::reference::Reference;

/// Fewest digits of an id that are taken for one.
const MIN_PREFIX: usize = 3;

/// An image that cannot be deleted while this is held. Whoever creates an
/// instance holds it until the instance's record, which `in_use` of
/// [`Store::remove`] looks at, is written.
#[derive(Debug)]
pub struct Pinned {
    image: Image,
    _lock: Lock,
}

impl Deref for Pinned {
    type Target = Image;

    fn deref(&self) -> &Image {
        &self.image
    }
}

impl Pinned {
    /// The image alone, which from now on may be deleted.
    pub fn into_image(self) -> Image {
        self.image
    }
}

impl Store {
    /// Finds an image by name, by id (also its first digits) or by the digest
    /// of its manifest, and makes sure that its layers are there.
    ///
    /// [`Error::DemoNotMade`] tells that it is the built-in image, which the
    /// caller can make; [`Error::NotFound`] that it is nowhere.
    pub fn resolve(&self, name: &str) -> Result<Pinned> {
        let lock = self.share_content()?;
        let index = self.read_index()?;
        let entry = find(&index, name)?;
        let image = self.open_image(&index, entry)?;
        Ok(Pinned { image, _lock: lock })
    }

    fn open_image(&self, index: &Index, entry: &Entry) -> Result<Image> {
        let manifest = image::parse_manifest(&self.read_document(&entry.manifest)?)?;
        if let Some(kind) = manifest.artifact {
            let name = entry.shown();
            return Err(Error::Artifact { name, kind });
        }
        let parsed = image::parse_config(&self.read_document(&manifest.config)?)?;
        if manifest.layers.len() != parsed.diff_ids.len() {
            return Err(Error::document(
                "the image",
                "its manifest and configuration differ in layers",
            ));
        }
        let mut layers = Vec::with_capacity(manifest.layers.len());
        let mut below = self.lowest();
        for (blob, diff_id) in manifest.layers.iter().zip(parsed.diff_ids) {
            // A layer that is missing is made anew from its blob.
            let path = match below.existing(&diff_id) {
                Some(path) => path,
                None => below.place(self.rebuild_layer(blob, &diff_id)?)?,
            };
            below.push(&diff_id, path.clone());
            layers.push(self.layer(path, diff_id));
        }
        let reference = entry
            .reference
            .clone()
            .or_else(|| index.names(&entry.id).into_iter().next());
        let (config, extensions) = (parsed.config, parsed.extensions);
        Ok(Image {
            id: entry.id,
            reference,
            manifest: entry.manifest,
            config,
            extensions,
            layers,
        })
    }

    fn layer(&self, path: PathBuf, diff_id: Digest) -> Layer {
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

/// The entry that `name` means.
pub(crate) fn find<'a>(index: &'a Index, name: &str) -> Result<&'a Entry> {
    if let Some(digest) = full_digest(name)
        && let Some(entry) = index.entries.iter().find(|entry| entry.has_digest(&digest))
    {
        return Ok(entry);
    }
    let parsed = name.parse::<Reference>();
    if let Ok(reference) = &parsed
        && let Some(entry) = by_reference(index, reference)
    {
        return Ok(entry);
    }
    if let Some(entry) = by_prefix(index, name)? {
        return Ok(entry);
    }
    match parsed {
        Ok(reference) if is_demo(&reference) => Err(Error::DemoNotMade),
        // Digits of an id are no name, but also not wrong.
        Err(_) if full_digest(name).is_some() => Err(Error::NotFound(name.to_owned())),
        Ok(_) => Err(Error::NotFound(name.to_owned())),
        Err(error) => Err(error),
    }
}

fn is_demo(reference: &Reference) -> bool {
    reference.familiar_name() == super::DEMO && reference.tag() == Some("latest")
}

fn full_digest(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_prefix("sha256:").unwrap_or(name))
}

/// A digest in a name is that of the manifest or, as for `inspect`, the id; the
/// repository must be one of the image's.
pub(crate) fn by_reference<'a>(index: &'a Index, reference: &Reference) -> Option<&'a Entry> {
    index.entries.iter().find(|entry| {
        let Some(known) = &entry.reference else {
            return false;
        };
        match reference.digest() {
            Some(digest) => {
                entry.has_digest(&digest)
                    && known.domain() == reference.domain()
                    && known.path() == reference.path()
            }
            None => known == reference,
        }
    })
}

fn by_prefix<'a>(index: &'a Index, name: &str) -> Result<Option<&'a Entry>> {
    let prefix = name.strip_prefix("sha256:").unwrap_or(name);
    if prefix.len() < MIN_PREFIX || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let fits: Vec<_> = index
        .images()
        .into_iter()
        .filter(|(id, _)| id.hex().starts_with(prefix))
        .collect();
    match fits.as_slice() {
        [] => Ok(None),
        [(_, entry)] => Ok(Some(entry)),
        several => Err(Error::Ambiguous {
            prefix: name.to_owned(),
            candidates: several.iter().map(|(id, _)| *id).collect(),
        }),
    }
}

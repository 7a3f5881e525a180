//! What `isola history` and `isola system df` show.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Store;
use super::blobs::size_of;
use super::index::Index;
use super::resolve::find;
use crate::digest::ImageId;
use crate::error::{Error, Result};
use crate::image;
use crate::reference::Reference;

/// A step by which an image was made, the last one first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Step {
    /// When (RFC 3339), if it says so.
    pub created: Option<String>,
    /// By which instruction.
    pub created_by: String,
    /// What its maker wrote beside it.
    pub comment: String,
    /// Bytes of its layer on this disk; 0 for a step without one.
    pub size: u64,
}

/// Bytes of an image on the disk: its documents, its layers as they came, and
/// what is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUsage {
    /// Its id.
    pub id: ImageId,
    /// Its names.
    pub references: Vec<Reference>,
    /// When it was built (RFC 3339), if it says so.
    pub created: Option<String>,
    /// Bytes that other images need, too.
    pub shared: u64,
    /// Bytes that only this one needs.
    pub unique: u64,
}

/// Bytes of a store on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By image.
    pub images: Vec<ImageUsage>,
    /// All content, also what no image needs.
    pub total: u64,
    /// What would be left if all images but those in use went.
    pub in_use: u64,
}

impl Store {
    /// How an image was made, the last step first.
    pub fn history(&self, name: &str) -> Result<(ImageId, Vec<Step>)> {
        let _lock = self.share_content()?;
        let index = self.read_index()?;
        let entry = find(&index, name)?;
        let manifest = image::parse_manifest(&self.read_document(&entry.manifest)?)?;
        if let Some(kind) = manifest.artifact {
            let name = name.to_owned();
            return Err(Error::Artifact { name, kind });
        }
        let parsed = image::parse_config(&self.read_document(&manifest.config)?)?;
        let mut below = self.lowest();
        let mut sizes = Vec::new();
        for diff_id in &parsed.diff_ids {
            let path = below.existing(diff_id).unwrap_or_default();
            sizes.push(layer_size(&path));
            below.push(diff_id, path);
        }
        let mut sizes = sizes.into_iter();
        let mut steps = Vec::new();
        for step in parsed.config.history().iter().flatten() {
            let empty = step.empty_layer().unwrap_or(false);
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            steps.push(Step {
                created: step.created().clone(),
                created_by: text(step.created_by()),
                comment: text(step.comment()),
                size: if empty { 0 } else { sizes.next().unwrap_or(0) },
            });
        }
        // Layers that nobody wrote down.
        steps.extend(sizes.map(|size| Step {
            created: None,
            created_by: String::new(),
            comment: String::new(),
            size,
        }));
        steps.reverse();
        Ok((entry.id, steps))
    }

    /// What the store takes on the disk; `in_use` as for [`Store::remove`].
    pub fn usage(&self, in_use: super::InUse<'_>) -> Result<Usage> {
        let _lock = self.share_content()?;
        let index = self.read_index()?;
        let mut users: HashMap<PathBuf, usize> = HashMap::new();
        let mut needs = Vec::new();
        for (id, entry) in index.images() {
            let needed = match self.existing(&index, &id) {
                // What an image without its documents needs cannot be told.
                Err(Error::BlobMissing(_) | Error::BlobDamaged { .. }) => HashSet::new(),
                found => found?,
            };
            for path in &needed {
                *users.entry(path.clone()).or_default() += 1;
            }
            needs.push((id, entry, needed));
        }
        let mut usage = Usage::default();
        let mut used: HashSet<&PathBuf> = HashSet::new();
        for (id, entry, needed) in &needs {
            let (mut shared, mut unique) = (0, 0);
            for path in needed {
                match users.get(path) {
                    Some(1) => unique += layer_size(path),
                    _ => shared += layer_size(path),
                }
            }
            if !in_use(id).is_empty() {
                used.extend(needed);
            }
            usage.images.push(ImageUsage {
                id: *id,
                references: index.names(id),
                created: entry.created.clone(),
                shared,
                unique,
            });
        }
        usage.in_use = used.into_iter().map(|path| layer_size(path)).sum();
        usage.total = layer_size(&self.blob_dir()) + layer_size(&self.layer_dir());
        Ok(usage)
    }

    /// The files and folders of an image that are there.
    fn existing(&self, index: &Index, id: &ImageId) -> Result<HashSet<PathBuf>> {
        let entries = index.entries.iter().filter(|entry| entry.id == *id);
        let entries = entries.cloned().collect();
        let mut needed = self.needed(&Index { entries })?;
        needed.retain(|path| path.exists());
        Ok(needed)
    }
}

/// Bytes of a layer or blob: of its file, or of the files in its folder.
pub(crate) fn layer_size(path: &Path) -> u64 {
    if !std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        return size_of(path);
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| layer_size(&entry.path())).sum()
}

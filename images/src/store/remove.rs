//! Taking images away.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Store;
use super::index::Index;
use super::lock::Lock;
use super::resolve::find;
use crate::digest::ImageId;
use crate::error::{Error, Result};
use crate::image;
use crate::layer::build::LayerFormat;
use crate::reference::Reference;

/// How long a removal waits for loads and creations to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same after a failure: a lock is also held by what this process has just
/// forked, until it has become another program.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);

/// What [`Store::remove`] and [`Store::gc`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that were taken away.
    pub untagged: Vec<Reference>,
    /// Images that are gone.
    pub deleted: Vec<ImageId>,
    /// Bytes that were given back to the disk.
    pub freed: u64,
}

/// Tells which instances use an image. It is called while nobody can resolve
/// images, so an instance whose record is not written yet cannot be missed.
pub type InUse<'a> = &'a dyn Fn(&ImageId) -> Vec<String>;

impl Store {
    /// Takes a name away and, with its last name, the image and all content
    /// that no other image needs.
    ///
    /// Given an id, all of its names go; more than one only with `force`. An
    /// image that instances use is refused; with `force` it loses its name but
    /// stays as a dangling image until they are gone.
    pub fn remove(&self, name: &str, force: bool, in_use: InUse<'_>) -> Result<Removed> {
        let _lock = self.own_content_or_busy()?;
        let mut known = Vec::new();
        let mut removed = self.change_index(|index| {
            known = index.all_names();
            unname(index, name, force, in_use)
        })?;
        self.tell_removed(&removed, &known);
        removed.freed = self.sweep()?;
        Ok(removed)
    }

    /// Removes dangling images that no instance uses (with `all`, also those with
    /// names), content that no image needs, and what processes that died left
    /// behind.
    pub fn gc(&self, all: bool, in_use: InUse<'_>) -> Result<Removed> {
        let _lock = self.own_content_or_busy()?;
        let mut known = Vec::new();
        let mut removed = self.change_index(|index| {
            known = index.all_names();
            let mut removed = Removed::default();
            index.entries.retain(|entry| {
                // A digest is no name that anybody gave it.
                let named = entry
                    .reference
                    .as_ref()
                    .is_some_and(|name| name.tag().is_some());
                let keep = named && !all || !in_use(&entry.id).is_empty();
                if !keep {
                    removed.untagged.extend(entry.reference.clone());
                    removed.deleted.push(entry.id);
                }
                keep
            });
            let left: HashSet<ImageId> = index.entries.iter().map(|entry| entry.id).collect();
            removed.deleted.retain(|id| !left.contains(id));
            removed.deleted.sort_unstable();
            removed.deleted.dedup();
            Ok(removed)
        })?;
        self.tell_removed(&removed, &known);
        removed.freed = self.sweep()?;
        Ok(removed)
    }

    pub(crate) fn own_content_or_busy(&self) -> Result<Lock> {
        let busy = || Error::Busy {
            path: self.root().to_owned(),
            what: "images are being loaded or taken into use",
        };
        self.own_content(PATIENCE)?.ok_or_else(busy)
    }

    /// Sweeps if nobody else uses the store, and without complaint: it follows
    /// a failure that is told already.
    pub(crate) fn tidy_up(&self) {
        if let Ok(Some(_lock)) = self.own_content(SHORT_PATIENCE) {
            let _ = self.sweep();
        }
    }

    /// Deletes what no image needs. The content lock must be held exclusively.
    pub(crate) fn sweep(&self) -> Result<u64> {
        let mut freed = self.sweep_temporary();
        let index = self.read_index()?;
        // What a damaged image needs cannot be told: keep all until it is gone.
        let Ok(mut needed) = self.needed(&index) else {
            return Ok(freed);
        };
        needed.extend(self.leased()?);
        needed.extend(self.recorded());
        for dir in [self.blob_dir(), self.layer_dir()] {
            for name in names_in(&dir)? {
                let path = dir.join(name);
                if !needed.contains(&path) {
                    freed += delete(&path);
                }
            }
        }
        Ok(freed)
    }

    /// Deletes what processes that died were about to add. The content lock must
    /// be held exclusively.
    pub(crate) fn sweep_temporary(&self) -> u64 {
        let names = names_in(&self.temp_dir()).unwrap_or_default();
        let deleted = names
            .into_iter()
            .map(|name| delete(&self.temp_dir().join(name)));
        deleted.sum()
    }

    /// All blobs and layers that the images need, in any form.
    pub(super) fn needed(&self, index: &Index) -> Result<HashSet<PathBuf>> {
        let mut needed = HashSet::new();
        let mut seen = HashSet::new();
        for entry in &index.entries {
            if let Some(whole) = self.whole(entry)? {
                let documents = whole.documents.iter().map(|listed| listed.digest);
                let blobs = whole.blobs.iter().map(|blob| blob.digest);
                needed.extend(documents.chain(blobs).map(|digest| self.blob_path(&digest)));
            }
            let manifest = &entry.manifest;
            if !seen.insert(*manifest) {
                continue;
            }
            needed.insert(self.blob_path(manifest));
            let parsed = image::parse_manifest(&self.read_document(manifest)?)?;
            needed.insert(self.blob_path(&parsed.config));
            needed.extend(parsed.layers.iter().map(|layer| self.blob_path(layer)));
            if parsed.artifact.is_some() {
                continue;
            }
            let config = image::parse_config(&self.read_document(&parsed.config)?)?;
            for format in [LayerFormat::Erofs, LayerFormat::Directory] {
                let store = Store {
                    format,
                    ..self.clone()
                };
                let mut below = store.lowest();
                for diff_id in &config.diff_ids {
                    needed.extend(below.candidates(diff_id));
                    below.push(diff_id, PathBuf::new());
                }
            }
        }
        Ok(needed)
    }
}

/// Takes names away from the index.
fn unname(index: &mut Index, name: &str, force: bool, in_use: InUse<'_>) -> Result<Removed> {
    let entry = find(index, name).map_err(|e| {
        if matches!(e, Error::DemoNotMade) {
            Error::NotFound(name.into())
        } else {
            e
        }
    })?;
    let id = entry.id;
    let by_name = name
        .parse::<Reference>()
        .ok()
        .filter(|given| entry.reference.as_ref() == Some(given));
    let names = index.names(&id);
    let untagged: Vec<Reference> = match by_name {
        Some(name) => vec![name],
        None if names.len() > 1 && !force => {
            let names = names.iter().map(Reference::familiar).collect();
            return Err(Error::SeveralNames {
                image: id.short(),
                names,
            });
        }
        None => names.clone(),
    };
    let last = untagged.len() == names.len();
    let users = if last { in_use(&id) } else { Vec::new() };
    if !users.is_empty() && !force {
        return Err(Error::InUse {
            image: id.short(),
            by: users,
        });
    }
    let mut removed = Removed {
        untagged,
        ..Removed::default()
    };
    for entry in &mut index.entries {
        if entry.id == id
            && entry
                .reference
                .as_ref()
                .is_some_and(|r| removed.untagged.contains(r))
        {
            entry.reference = None;
        }
    }
    if last && users.is_empty() {
        index.entries.retain(|entry| entry.id != id);
        removed.deleted.push(id);
    }
    index.tidy();
    Ok(removed)
}

fn names_in(dir: &Path) -> Result<Vec<OsString>> {
    let read = |e| Error::io("read", dir, e);
    fs::read_dir(dir)
        .map_err(read)?
        .map(|entry| entry.map(|e| e.file_name()).map_err(read))
        .collect()
}

/// Deletes a file or folder; what cannot be deleted now is found by the next
/// sweep. Gives the bytes of a file.
fn delete(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    let deleted = if meta.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    if deleted.is_ok() && meta.is_file() {
        meta.len()
    } else {
        0
    }
}

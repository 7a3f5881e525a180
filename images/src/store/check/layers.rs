//! Whether layers are what their blobs hold.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::blobs::Blobs;
use super::needs::{Chain, Needs};
use super::{Check, Finding, Mended, compare};
use crate::error::{Error, Result};
use crate::layer::build::{Built, LayerFormat};
use crate::store::Store;
use crate::store::below::Below;
use crate::store::temp::Temp;

impl Check<'_> {
    /// Makes each layer anew, in each form that it has, and compares.
    pub(super) fn layers(&mut self, blobs: &Blobs, needs: &Needs) -> Result<()> {
        let mut seen = HashSet::new();
        for format in [LayerFormat::Erofs, LayerFormat::Directory] {
            let store = Store {
                format,
                ..self.store.clone()
            };
            for chain in &needs.chains {
                self.chain(&store, chain, blobs, &mut seen)?;
            }
        }
        Ok(())
    }

    /// The layers of one image, from the lowest to the last that is there.
    fn chain(
        &mut self,
        store: &Store,
        chain: &Chain,
        blobs: &Blobs,
        seen: &mut HashSet<PathBuf>,
    ) -> Result<()> {
        let mut below = store.lowest();
        // Those that others lean on and that are not in their places.
        let mut kept: Vec<Temp> = Vec::new();
        for (blob, diff_id) in &chain.layers[..there(store, chain)] {
            let existing = below.existing(diff_id);
            if let Some(path) = existing
                .as_ref()
                .filter(|path| !blobs.is_healthy(blob) || seen.contains(*path))
            {
                below.push(diff_id, path.clone());
                continue;
            }
            if !blobs.is_healthy(blob) {
                // It cannot be made, nor what leans on it.
                return Ok(());
            }
            let built = match store.rebuild_layer(blob, diff_id) {
                Ok(built) => built,
                Err(error @ (Error::NoSpace { .. } | Error::Io { .. })) => return Err(error),
                Err(error) => {
                    self.finding(store, existing, &chain.image, error.to_string());
                    return Ok(());
                }
            };
            let path = match existing {
                Some(path) => self.compare(&below, built, path, &chain.image, &mut kept)?,
                None => keep(&below, built, &mut kept)?,
            };
            seen.insert(path.clone());
            below.push(diff_id, path);
        }
        Ok(())
    }

    /// Compares a layer with what it should be; gives the one to go on with.
    fn compare(
        &mut self,
        below: &Below<'_>,
        built: Built,
        path: PathBuf,
        image: &str,
        kept: &mut Vec<Temp>,
    ) -> Result<PathBuf> {
        self.checked.layers += 1;
        let place = below.settle(&built)?;
        let format = self.format_of(&path);
        let wrong = match compare::same(format, built.temp.path(), &path) {
            Ok(None) => return Ok(path),
            Ok(Some(wrong)) => wrong,
            Err(error) => format!("it cannot be read: {error}"),
        };
        let number = self.checked.findings.len();
        self.finding(self.store, Some(path.clone()), image, wrong);
        if !self.repair {
            let instead = built.temp.path().to_owned();
            kept.push(built.temp);
            return Ok(instead);
        }
        remove(&path)?;
        built.temp.persist(&place)?;
        self.checked.findings[number].mended = Mended::Anew;
        Ok(place)
    }

    fn format_of(&self, path: &Path) -> LayerFormat {
        match path.extension() {
            Some(_) => LayerFormat::Erofs,
            None => LayerFormat::Directory,
        }
    }

    fn finding(&mut self, store: &Store, path: Option<PathBuf>, image: &str, wrong: String) {
        let path = path.unwrap_or_default();
        let file = path.strip_prefix(store.root()).unwrap_or(&path).to_owned();
        self.checked.findings.push(Finding {
            file,
            wrong,
            images: vec![image.to_owned()],
            mended: Mended::No,
        });
    }
}

/// How many layers there are up to the last one that is there.
fn there(store: &Store, chain: &Chain) -> usize {
    let mut below = store.lowest();
    let mut count = 0;
    for (number, (_, diff_id)) in chain.layers.iter().enumerate() {
        let path = below.existing(diff_id);
        if path.is_some() {
            count = number + 1;
        }
        below.push(diff_id, path.unwrap_or_default());
    }
    count
}

fn keep(below: &Below<'_>, built: Built, kept: &mut Vec<Temp>) -> Result<PathBuf> {
    below.settle(&built)?;
    let path = built.temp.path().to_owned();
    kept.push(built.temp);
    Ok(path)
}

/// A folder does not give way to another one by renaming.
fn remove(path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path).map_err(|e| Error::io("read", path, e))?;
    let removed = match meta.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    removed.map_err(|e| Error::io("remove", path, e))
}

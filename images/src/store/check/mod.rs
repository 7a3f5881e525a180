//! Finding damage and mending it, offline: no registry is asked.
//!
//! Each blob is hashed. Each layer that is mounted is made anew from its blob and
//! compared, which also tells when a layer was made of something else. What is
//! damaged and can be made again is; a damaged blob is removed, so that the next
//! pull or load brings it again and nobody takes it for whole.

mod blobs;
mod compare;
mod layers;
mod needs;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use self::blobs::Blobs;
use self::needs::Needs;
use super::Store;
use super::index::Index;
use crate::error::{Error, Result};

/// What was looked at and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blobs that were hashed.
    pub blobs: usize,
    /// Layers that were compared with their blobs.
    pub layers: usize,
    /// Files of processes that ended before they were done. Others may be at work,
    /// then they are not counted.
    pub unfinished: usize,
    /// All damage.
    pub findings: Vec<Finding>,
}

/// Something that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which file or folder, as seen from the store's folder.
    pub file: PathBuf,
    /// What is wrong with it.
    pub wrong: String,
    /// Names or ids of the images that need it.
    pub images: Vec<String>,
    /// What was done about it.
    pub mended: Mended,
}

/// What was done about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// Nothing.
    No,
    /// It is gone; images that need it lack it until they are pulled or loaded again.
    Removed,
    /// It was made anew from what it belongs to.
    Anew,
}

impl Finding {
    /// Nothing is left to do.
    pub fn is_mended(&self) -> bool {
        match self.mended {
            Mended::No => false,
            Mended::Removed => self.images.is_empty(),
            Mended::Anew => true,
        }
    }
}

/// Told how many bytes of how many were looked at.
pub type CheckTold<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// A check under way.
struct Check<'a> {
    store: &'a Store,
    repair: bool,
    told: CheckTold<'a>,
    checked: Checked,
}

impl Store {
    /// Looks at all content. With `repair` damage is mended; then nobody else can
    /// use the store meanwhile, else nobody can remove images.
    pub fn check(&self, repair: bool, told: CheckTold<'_>) -> Result<Checked> {
        let mut check = Check {
            store: self,
            repair,
            told,
            checked: Checked::default(),
        };
        if repair {
            let _lock = self.own_content_or_busy()?;
            check.checked.unfinished = check.unfinished();
            self.sweep_temporary();
            return check.run();
        }
        if let Ok(Some(_lock)) = self.own_content(Duration::ZERO) {
            check.checked.unfinished = check.unfinished();
        }
        let _lock = self.share_content()?;
        check.run()
    }
}

impl Check<'_> {
    fn run(mut self) -> Result<Checked> {
        let blobs = Blobs::hash(self.store, self.told)?;
        self.checked.blobs = blobs.count();
        let index = self.index(&blobs)?;
        let needs = Needs::of(self.store, &index, &blobs);
        self.blobs(&blobs, &needs);
        self.checked.findings.extend(needs.wrong.iter().cloned());
        self.layers(&blobs, &needs)?;
        Ok(self.checked)
    }

    /// Files in `tmp`. The content lock must be held exclusively.
    fn unfinished(&self) -> usize {
        fs::read_dir(self.store.temp_dir()).map_or(0, Iterator::count)
    }

    /// The index, or what can be said of the images without it.
    fn index(&mut self, blobs: &Blobs) -> Result<Index> {
        let error = match self.store.read_index() {
            Ok(index) => return Ok(index),
            Err(error @ Error::Document { .. }) => error,
            Err(error) => return Err(error),
        };
        let found = Index {
            entries: needs::nameless(self.store, blobs),
        };
        let mut mended = Mended::No;
        if self.repair {
            let path = self.store.root().join("index.json");
            let aside = self.store.root().join("index.json.damaged");
            fs::rename(&path, &aside).map_err(|e| Error::io("rename", &path, e))?;
            self.store.change_index(|index| {
                index.entries.clone_from(&found.entries);
                Ok(())
            })?;
            mended = Mended::Anew;
        }
        self.checked.findings.push(Finding {
            file: "index.json".into(),
            wrong: format!(
                "{error}; {} images were found, without their names",
                found.entries.len()
            ),
            images: Vec::new(),
            mended,
        });
        Ok(found)
    }

    /// Damaged blobs, and those that are not there.
    fn blobs(&mut self, blobs: &Blobs, needs: &Needs) {
        for (name, wrong) in &blobs.wrong {
            let images = needs.of_file(name);
            let mut mended = Mended::No;
            if self.repair && fs::remove_file(self.store.blob_dir().join(name)).is_ok() {
                mended = Mended::Removed;
            }
            self.checked.findings.push(Finding {
                file: PathBuf::from("blobs/sha256").join(name),
                wrong: wrong.clone(),
                images,
                mended,
            });
        }
        for (digest, images) in &needs.by_digest {
            if blobs.is_missing(digest) {
                self.checked.findings.push(Finding {
                    file: PathBuf::from("blobs/sha256").join(digest.hex()),
                    wrong: "it is missing".into(),
                    images: images.clone(),
                    mended: Mended::No,
                });
            }
        }
    }
}

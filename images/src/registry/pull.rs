//! From a registry into the store: layers come side by side, are hashed and
//! unpacked while they come, and are in their places before the index names them.

use std::fs::File;
use std::path::Path;

use super::fetch::{Fetch, Job};
use super::http::Client;
use super::plan::{Plan, kept_name};
use super::platform::Platform;
use super::remote::Remote;
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::layer::build::Built;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::usage::layer_size;

/// Which images of an index are pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platforms<'a> {
    /// The one for this machine.
    Native,
    /// The one for this platform.
    One(&'a Platform),
    /// All, with the index.
    All,
}

/// What a pull or push is doing, for the user's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transfer {
    /// A blob that takes part, in order; `here` if it need not be moved.
    Blob {
        /// Its digest.
        blob: Digest,
        /// Bytes.
        size: u64,
        /// It is where it should be already.
        here: bool,
    },
    /// So much of a blob was moved.
    Bytes {
        /// Its digest.
        blob: Digest,
        /// Bytes.
        done: u64,
    },
    /// A blob is whole and checked; its layer may still be being unpacked.
    Moved {
        /// Its digest.
        blob: Digest,
    },
    /// A blob, and what is made of it, is done.
    Done {
        /// Its digest.
        blob: Digest,
    },
    /// Something failed and is tried again.
    Again {
        /// What failed, and why.
        why: String,
    },
}

/// Told about a transfer, from several threads.
pub type Told<'a> = &'a (dyn Fn(Transfer) + Sync);

/// What a pull has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The name that it has in the store.
    pub reference: Reference,
    /// Digest of the manifest or index that the name leads to on the registry.
    pub digest: Digest,
    /// The image's id; the manifest's digest for an artifact.
    pub id: ImageId,
    /// Something in the store has changed.
    pub new: bool,
}

impl Store {
    /// Pulls an image. It is in the store as a whole or not at all; layers that
    /// came before something failed are kept only if the connection did.
    ///
    /// Of an index that is pulled for all platforms, the image for this machine
    /// has the name, or else the first one; only its layers are unpacked.
    pub fn pull(
        &self,
        client: &Client,
        reference: &Reference,
        platforms: Platforms<'_>,
        told: Told<'_>,
    ) -> Result<Pulled> {
        self.clear_leftovers();
        let lock = self.share_content()?;
        let pulled = self.pull_locked(client, reference, platforms, told);
        drop(lock);
        if let Ok(pulled) = &pulled {
            self.tell_transfer("pull", &pulled.reference);
            self.note_asked(&pulled.reference);
        }
        if let Err(error) = &pulled
            && !matches!(error, Error::Unreachable { .. })
        {
            self.tidy_up();
        }
        pulled
    }

    fn pull_locked(
        &self,
        client: &Client,
        reference: &Reference,
        platforms: Platforms<'_>,
        told: Told<'_>,
    ) -> Result<Pulled> {
        let remote = Remote::for_pull(client, reference)?;
        let again = |why: &str| {
            told(Transfer::Again {
                why: why.to_owned(),
            })
        };
        let plan = self.plan(&remote, reference, platforms, &again)?;
        let jobs = self.jobs(&plan);
        for (blob, job) in &jobs {
            told(Transfer::Blob {
                blob: blob.digest,
                size: blob.size,
                here: job.is_none(),
            });
        }
        let jobs: Vec<Job> = jobs.into_iter().filter_map(|(_, job)| job).collect();
        let built = Fetch::new(self, &remote, told).run(&jobs)?;
        let id = plan.entry.id;
        let (digest, new) = (
            plan.origin,
            self.commit_pull(plan, built, !jobs.is_empty())?,
        );
        Ok(Pulled {
            reference: kept_name(reference),
            digest,
            id,
            new,
        })
    }

    /// Puts everything in its place: content first, the index last. Tells
    /// whether anything is new.
    fn commit_pull(
        &self,
        mut plan: Plan,
        mut built: Vec<(Digest, Built)>,
        mut moved: bool,
    ) -> Result<bool> {
        let mut documents = Vec::new();
        let others = plan.whole.iter().flat_map(|whole| &whole.documents);
        let others = others.map(|listed| &listed.bytes);
        for content in [&plan.manifest.bytes, &plan.config]
            .into_iter()
            .chain(others)
        {
            documents.push((Digest::of(content), self.stage(content)?));
        }
        let mut below = self.lowest();
        let mut size = 0;
        for (blob, diff_id) in plan.layers.iter().zip(&plan.diff_ids) {
            let path = match below.existing(diff_id) {
                Some(path) => path,
                None => {
                    let at = built.iter().position(|(digest, _)| *digest == blob.digest);
                    let built = match at {
                        Some(at) => built.swap_remove(at).1,
                        // The same layer twice.
                        None => self.rebuild_layer(&blob.digest, diff_id)?,
                    };
                    below.place(built)?
                }
            };
            size += layer_size(&path);
            below.push(diff_id, path);
        }
        for (digest, temp) in documents {
            moved |= !self.blob_path(&digest).exists();
            temp.persist(&self.blob_path(&digest))?;
        }
        if !plan.diff_ids.is_empty() {
            plan.entry.size = size;
        }
        self.change_index(|index| {
            let entry = &mut plan.entry;
            let known = index.entries.iter();
            for same in known.filter(|other| other.manifest == entry.manifest) {
                entry.size = same.size;
                // What was pulled for all platforms stays so.
                if let (Some(origin), Some(before)) = (&mut entry.origin, same.origin)
                    && same.reference == entry.reference
                    && before.digest == origin.digest
                {
                    origin.whole |= before.whole;
                }
            }
            let known = index.entries.contains(entry);
            if !known {
                index.add(entry.clone());
            }
            Ok(!known || moved)
        })
    }

    /// Removes what processes that died left in `tmp`, if nobody else is at work.
    fn clear_leftovers(&self) {
        if let Ok(Some(_lock)) = self.own_content(std::time::Duration::ZERO) {
            self.sweep_temporary();
        }
    }
}

/// Waits until a file is on the disk.
pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_data())
        .map_err(|e| Error::io("write", path, e))
}

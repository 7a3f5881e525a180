//! From a registry into the store: layers come side by side, are hashed and
//! unpacked while they come, and are in their places before the index names them.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use super::fetch::{Fetch, Job};
use super::http::Client;
use super::manifest::{self, Descriptor, Document};
use super::platform::{Platform, PlatformOf};
use super::remote::{Fetched, Remote};
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::image;
use crate::layer::build::Built;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::index::Entry;
use crate::store::usage::layer_size;

/// Indexes may point to indexes; no deeper than this.
const MAX_NESTING: usize = 4;

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

/// What is to be pulled, all of its documents checked.
struct Plan {
    /// What the name leads to.
    origin: Digest,
    manifest: Fetched,
    config: Vec<u8>,
    entry: Entry,
    /// Lowest first.
    layers: Vec<Descriptor>,
    /// As many, or none for an artifact.
    diff_ids: Vec<Digest>,
}

impl Store {
    /// Pulls an image, for this machine's platform unless another one is named.
    /// It is in the store as a whole or not at all; layers that came before
    /// something failed are kept only if the connection did.
    pub fn pull(
        &self,
        client: &Client,
        reference: &Reference,
        platform: Option<&Platform>,
        told: Told<'_>,
    ) -> Result<Pulled> {
        self.clear_leftovers();
        let lock = self.share_content()?;
        let pulled = self.pull_locked(client, reference, platform, told);
        drop(lock);
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
        platform: Option<&Platform>,
        told: Told<'_>,
    ) -> Result<Pulled> {
        let remote = Remote::for_pull(client, reference)?;
        let again = |why: &str| {
            told(Transfer::Again {
                why: why.to_owned(),
            })
        };
        let plan = self.plan(&remote, reference, platform, &again)?;
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

    /// Goes from the name to the image's documents.
    fn plan(
        &self,
        remote: &Remote<'_>,
        reference: &Reference,
        platform: Option<&Platform>,
        again: &dyn Fn(&str),
    ) -> Result<Plan> {
        let native = Platform::native();
        let wanted = platform.unwrap_or(&native);
        let top = match reference.digest() {
            Some(digest) => remote.manifest(&digest.to_string(), Some(digest), again)?,
            None => remote.manifest(reference.tag().unwrap_or("latest"), None, again)?,
        };
        let origin = top.digest;
        let (manifest, config, layers, artifact) = descend(remote, top, wanted, again)?;
        let content = match self.read_document(&config.digest) {
            Ok(content) => content,
            Err(_) => remote.document(&config, again)?,
        };
        let mut entry = Entry {
            manifest: manifest.digest,
            manifest_size: manifest.bytes.len() as u64,
            media_type: image::parse_manifest(&manifest.bytes)?.media_type,
            id: config.digest,
            reference: Some(kept_name(reference)),
            created: None,
            size: 0,
            origin: (origin != manifest.digest).then_some(origin),
        };
        let mut diff_ids = Vec::new();
        if artifact.is_some() {
            // Artifacts share the empty configuration.
            entry.id = manifest.digest;
            entry.size = layers.iter().map(|layer| layer.size).sum();
        } else {
            let parsed = image::parse_config(&content)?;
            check_platform(remote, &content, wanted, platform.is_some())?;
            if parsed.diff_ids.len() != layers.len() {
                let why = "its manifest and configuration differ in layers";
                return Err(Error::document("the image", why));
            }
            entry.created.clone_from(parsed.config.created());
            diff_ids = parsed.diff_ids;
        }
        Ok(Plan {
            origin,
            manifest,
            config: content,
            entry,
            layers,
            diff_ids,
        })
    }

    /// What is to be done for each blob, each blob once.
    fn jobs(&self, plan: &Plan) -> Vec<(Descriptor, Option<Job>)> {
        let mut below = self.lowest();
        let mut seen = HashSet::new();
        let mut jobs = Vec::new();
        for (number, blob) in plan.layers.iter().enumerate() {
            let diff_id = plan.diff_ids.get(number).copied();
            let made = match &diff_id {
                Some(diff_id) => {
                    let path = below.existing(diff_id);
                    let made = path.is_some();
                    below.push(diff_id, path.unwrap_or_default());
                    made
                }
                None => true,
            };
            if !seen.insert(blob.digest) {
                continue;
            }
            let file = std::fs::metadata(self.blob_path(&blob.digest));
            let load = !file.is_ok_and(|file| file.len() == blob.size);
            let job = Job {
                blob: blob.clone(),
                load,
                unpack: diff_id.filter(|_| !made),
            };
            let job = (job.load || job.unpack.is_some()).then_some(job);
            jobs.push((blob.clone(), job));
        }
        jobs
    }

    /// Puts everything in its place: content first, the index last. Tells
    /// whether anything is new.
    fn commit_pull(
        &self,
        mut plan: Plan,
        mut built: Vec<(Digest, Built)>,
        moved: bool,
    ) -> Result<bool> {
        let mut documents = Vec::new();
        for content in [&plan.manifest.bytes, &plan.config] {
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
            temp.persist(&self.blob_path(&digest))?;
        }
        if !plan.diff_ids.is_empty() {
            plan.entry.size = size;
        }
        self.change_index(|index| {
            let entry = &mut plan.entry;
            let same = index
                .entries
                .iter()
                .find(|other| other.manifest == entry.manifest);
            if let Some(same) = same {
                entry.size = same.size;
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

/// A name with a digest stands for this content only: its tag is left away, as
/// the content of a tag may be another one meanwhile.
fn kept_name(reference: &Reference) -> Reference {
    match reference.digest() {
        Some(_) => reference.without_tag(),
        None => reference.clone(),
    }
}

/// From a manifest or index to the manifest for the platform.
fn descend(
    remote: &Remote<'_>,
    top: Fetched,
    wanted: &Platform,
    again: &dyn Fn(&str),
) -> Result<(Fetched, Descriptor, Vec<Descriptor>, Option<String>)> {
    let mut at = top;
    for _ in 0..=MAX_NESTING {
        match manifest::parse(&at.bytes, at.content_type.as_deref())? {
            Document::Manifest {
                config,
                layers,
                artifact,
            } => return Ok((at, config, layers, artifact)),
            Document::Index(manifests) => {
                let chosen = manifest::choose(&remote.name, &manifests, wanted)?;
                at = remote.manifest(&chosen.digest.to_string(), Some(chosen.digest), again)?;
                if at.bytes.len() as u64 != chosen.size {
                    let what = "the manifest of the index";
                    let why = format!("it has {} bytes instead of {}", at.bytes.len(), chosen.size);
                    return Err(Error::document(what, why));
                }
            }
        }
    }
    let limit = format!("{MAX_NESTING}");
    Err(Error::limit("the depth of indexes in indexes", limit))
}

/// An image that comes without an index may be for any machine.
fn check_platform(
    remote: &Remote<'_>,
    config: &[u8],
    wanted: &Platform,
    asked: bool,
) -> Result<()> {
    let raw: PlatformOf = serde_json::from_slice(config)
        .map_err(|e| Error::document("the image's configuration", e))?;
    let found = Platform::from(&raw);
    if found.serves(wanted) {
        return Ok(());
    }
    Err(match asked {
        true => Error::NoPlatform {
            name: remote.name.clone(),
            wanted: wanted.to_string(),
            found: found.to_string(),
        },
        false => Error::ForeignPlatform {
            name: remote.name.clone(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        },
    })
}

/// Waits until a file is on the disk.
pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_data())
        .map_err(|e| Error::io("write", path, e))
}

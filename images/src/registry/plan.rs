//! What a pull will bring: from the name to the image's documents, all of them
//! checked, and what is to be done for each blob.

use std::collections::HashSet;

use super::fetch::Job;
use super::manifest::{self, Descriptor, Document};
use super::platform::Platform;
use super::pull::Platforms;
use super::remote::Remote;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::index::{Entry, Origin};
use crate::whole::{self, Listed, MAX_NESTING, Whole};

/// What is to be pulled, all of its documents checked.
pub(super) struct Plan {
    /// What the name leads to.
    pub(super) origin: Digest,
    pub(super) manifest: Listed,
    pub(super) config: Vec<u8>,
    pub(super) entry: Entry,
    /// Lowest first.
    pub(super) layers: Vec<Descriptor>,
    /// As many, or none for an artifact.
    pub(super) diff_ids: Vec<Digest>,
    /// The index, if it is kept.
    pub(super) whole: Option<Whole>,
}

/// The image that a name leads to.
struct Chosen {
    manifest: Listed,
    whole: Option<Whole>,
}

impl Store {
    /// Goes from the name to the image's documents.
    pub(super) fn plan(
        &self,
        remote: &Remote<'_>,
        reference: &Reference,
        platforms: Platforms<'_>,
        again: &dyn Fn(&str),
    ) -> Result<Plan> {
        let top = match reference.digest() {
            Some(digest) => remote.manifest(&digest.to_string(), Some(digest), again)?,
            None => remote.manifest(reference.tag().unwrap_or("latest"), None, again)?,
        };
        let top = Listed::new(top.digest, top.bytes, top.content_type.as_deref());
        let origin = top.digest;
        let Chosen { manifest, whole } = self.choose(remote, top, platforms, again)?;
        let Document::Manifest {
            config,
            layers,
            artifact,
        } = manifest.parse()?
        else {
            return Err(Error::document("the image's manifest", "it is an index"));
        };
        let content = match self.read_document(&config.digest) {
            Ok(content) => content,
            Err(_) => remote.document(&config, again)?,
        };
        let mut entry = Entry {
            manifest: manifest.digest,
            manifest_size: manifest.bytes.len() as u64,
            media_type: manifest.media_type.clone(),
            id: config.digest,
            reference: Some(kept_name(reference)),
            created: None,
            size: 0,
            origin: (origin != manifest.digest).then_some(Origin {
                digest: origin,
                whole: whole.is_some(),
            }),
        };
        let mut diff_ids = Vec::new();
        if artifact.is_some() {
            // Artifacts share the empty configuration.
            entry.id = manifest.digest;
            entry.size = layers.iter().map(|layer| layer.size).sum();
        } else {
            let parsed = image::parse_config(&content)?;
            check_platform(remote, &content, platforms)?;
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
            whole,
        })
    }

    /// Goes from what a name leads to to the image that is wanted, and gets the
    /// documents of all others if these are.
    fn choose(
        &self,
        remote: &Remote<'_>,
        top: Listed,
        platforms: Platforms<'_>,
        again: &dyn Fn(&str),
    ) -> Result<Chosen> {
        let native = Platform::native();
        let get = |found: &Descriptor| match self.read_document(&found.digest) {
            Ok(bytes) => Ok(bytes),
            Err(_) => {
                let name = found.digest.to_string();
                let fetched = remote.manifest(&name, Some(found.digest), again)?;
                Ok(fetched.bytes)
            }
        };
        let is_index = matches!(top.parse()?, Document::Index(_));
        if platforms == Platforms::All && is_index {
            let whole = whole::walk(top, &mut |found| get(found))?;
            let manifest = match whole.image(&remote.name, &native) {
                Ok(manifest) => manifest.clone(),
                Err(_) => whole.first()?.clone(),
            };
            return Ok(Chosen {
                manifest,
                whole: Some(whole),
            });
        }
        let wanted = match platforms {
            Platforms::One(platform) => platform,
            Platforms::Native | Platforms::All => &native,
        };
        let manifest = descend(remote, top, wanted, &get)?;
        Ok(Chosen {
            manifest,
            whole: None,
        })
    }

    /// What is to be done for each blob, each blob once.
    pub(super) fn jobs(&self, plan: &Plan) -> Vec<(Descriptor, Option<Job>)> {
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
            let job = Job {
                blob: blob.clone(),
                load: !self.has_blob(blob),
                unpack: diff_id.filter(|_| !made),
            };
            let job = (job.load || job.unpack.is_some()).then_some(job);
            jobs.push((blob.clone(), job));
        }
        let config = Digest::of(&plan.config);
        let others = plan.whole.iter().flat_map(|whole| &whole.blobs);
        for blob in others.filter(|blob| blob.digest != config) {
            if seen.insert(blob.digest) {
                let job = (!self.has_blob(blob)).then(|| Job {
                    blob: blob.clone(),
                    load: true,
                    unpack: None,
                });
                jobs.push((blob.clone(), job));
            }
        }
        jobs
    }

    /// A file is there that may be this blob.
    pub(crate) fn has_blob(&self, blob: &Descriptor) -> bool {
        let file = std::fs::metadata(self.blob_path(&blob.digest));
        file.is_ok_and(|file| file.len() == blob.size)
    }
}

/// A name with a digest stands for this content only: its tag is left away, as
/// the content of a tag may be another one meanwhile.
pub(super) fn kept_name(reference: &Reference) -> Reference {
    match reference.digest() {
        Some(_) => reference.without_tag(),
        None => reference.clone(),
    }
}

/// From a manifest or index to the manifest for the platform.
fn descend(
    remote: &Remote<'_>,
    top: Listed,
    wanted: &Platform,
    get: &dyn Fn(&Descriptor) -> Result<Vec<u8>>,
) -> Result<Listed> {
    let mut at = top;
    for _ in 0..=MAX_NESTING {
        let Document::Index(manifests) = at.parse()? else {
            return Ok(at);
        };
        let chosen = manifest::choose(&remote.name, &manifests, wanted)?;
        let bytes = get(chosen)?;
        if bytes.len() as u64 != chosen.size {
            let what = "the manifest of the index";
            let why = format!("it has {} bytes instead of {}", bytes.len(), chosen.size);
            return Err(Error::document(what, why));
        }
        at = Listed::new(chosen.digest, bytes, Some(&chosen.media_type));
    }
    let limit = format!("{MAX_NESTING}");
    Err(Error::limit("the depth of indexes in indexes", limit))
}

/// An image that comes without an index may be for any machine.
fn check_platform(remote: &Remote<'_>, config: &[u8], platforms: Platforms<'_>) -> Result<()> {
    let native = Platform::native();
    let (wanted, asked) = match platforms {
        Platforms::Native => (&native, false),
        Platforms::One(platform) => (platform, true),
        Platforms::All => return Ok(()),
    };
    let found = Platform::of_config(config)?;
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

//! What is in an archive: from its small documents to its images. No I/O.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde::Deserialize;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{is_native, native};
use crate::reference::Reference;
use crate::registry::manifest;
use crate::store::index::{NAME, REF_NAME};
use crate::whole::{self, Listed, MAX_NESTING, Whole};

/// The small files of an archive by name.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) files: HashMap<String, Vec<u8>>,
    /// Names that lead to other names of the archive: old versions of Docker
    /// link layers that occur twice.
    pub(crate) links: HashMap<String, String>,
}

/// An image of an archive.
#[derive(Debug)]
pub(crate) struct Found {
    /// The manifest as it is, or `None` for archives that have none.
    pub(crate) manifest: Option<Vec<u8>>,
    /// The configuration as it is.
    pub(crate) config: Vec<u8>,
    /// Names in the archive of its layers, lowest first.
    pub(crate) layers: Vec<String>,
    pub(crate) references: Vec<Reference>,
    /// Its index, if the archive has all that it leads to.
    pub(crate) whole: Option<Whole>,
}

/// Whether an archive has a file of that name.
pub(crate) type Has<'a> = &'a dyn Fn(&str) -> bool;

/// An element of Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Documents {
    /// The images of the archive, whichever kind it is. `has` tells whether a
    /// blob is among what is not a document.
    pub(crate) fn images(&self, has: Has<'_>) -> Result<Vec<Found>> {
        let images =
            if self.files.contains_key("index.json") && self.files.contains_key("oci-layout") {
                self.oci_images(has)?
            } else if self.files.contains_key("manifest.json") {
                self.docker_images()?
            } else {
                let hint = "it has neither index.json nor manifest.json";
                return Err(Error::Archive(format!(
                    "{hint} (a root file system is added with `isola import`)"
                )));
            };
        if images.is_empty() {
            return Err(Error::Archive("it holds no image".into()));
        }
        Ok(images)
    }

    /// The name behind links.
    pub(crate) fn follow<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        for _ in 0..8 {
            match self.links.get(name) {
                Some(target) => name = target,
                None => break,
            }
        }
        name
    }

    fn document(&self, name: &str) -> Result<&[u8]> {
        let found = self.files.get(self.follow(name));
        found
            .map(Vec::as_slice)
            .ok_or_else(|| Error::Archive(format!("`{name}` is missing in it")))
    }

    /// A blob of an OCI layout, checked against its digest.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<&[u8]> {
        let name = blob_name(digest);
        let content = self.files.get(&name).ok_or(Error::BlobMissing(*digest))?;
        let found = Digest::of(content);
        if found != *digest {
            return Err(Error::DigestMismatch {
                what: format!("blob {digest}"),
                expected: *digest,
                found,
            });
        }
        Ok(content)
    }

    fn oci_images(&self, has: Has<'_>) -> Result<Vec<Found>> {
        let index = parse_index(self.document("index.json")?)?;
        let mut images: Vec<(Digest, Found)> = Vec::new();
        for descriptor in index.manifests() {
            if is_attachment(descriptor) {
                continue;
            }
            let names = names(descriptor);
            let whole = self.whole(descriptor, has);
            let manifest = match (self.manifest(descriptor, 0), &whole) {
                (Err(Error::Platform { .. }), Some(whole)) => whole.first()?.digest,
                (found, _) => found?,
            };
            // Docker lists an image once for each of its names.
            if let Some((_, known)) = images.iter_mut().find(|(digest, _)| *digest == manifest) {
                known.references.extend(names);
                known.whole = known.whole.take().or(whole);
                continue;
            }
            let mut image = self.oci_image(&manifest, names)?;
            image.whole = whole;
            images.push((manifest, image));
        }
        let mut images: Vec<Found> = images.into_iter().map(|(_, image)| image).collect();
        // Archives of `docker save` name their images here; a broken file does
        // not matter, since the index has all that is needed.
        if let Ok(named) = self.docker_images() {
            for image in &mut images {
                let same = named.iter().filter(|other| other.config == image.config);
                image
                    .references
                    .extend(same.flat_map(|other| other.references.clone()));
            }
        }
        for image in &mut images {
            image.references.sort();
            image.references.dedup();
        }
        Ok(images)
    }

    /// The manifest that a descriptor leads to, for this machine.
    fn manifest(&self, descriptor: &Descriptor, nesting: usize) -> Result<Digest> {
        let digest = digest_of(descriptor)?;
        if !is_index(descriptor.media_type()) {
            return Ok(digest);
        }
        if nesting == MAX_NESTING {
            return Err(Error::Archive("its indices are nested too deeply".into()));
        }
        let index = parse_index(self.blob(&digest)?)?;
        let candidates: Vec<&Descriptor> = index
            .manifests()
            .iter()
            .filter(|d| !is_attachment(d))
            .collect();
        let fits = candidates.iter().find(|candidate| {
            // An archive of one platform of an index lacks the others' blobs.
            candidate
                .platform()
                .as_ref()
                .is_some_and(|p| is_native(p.os(), p.architecture()))
        });
        let chosen = match (fits, candidates.as_slice()) {
            (Some(fits), _) => fits,
            (None, [only]) => only,
            (None, others) => {
                let platform = |d: &&Descriptor| {
                    d.platform()
                        .as_ref()
                        .map(|p| format!("{}/{}", p.os(), p.architecture()))
                };
                let found: Vec<String> = others.iter().filter_map(platform).collect();
                return Err(Error::Platform {
                    wanted: native(),
                    found: found.join(", "),
                });
            }
        };
        self.manifest(chosen, nesting + 1)
    }

    /// All that an index leads to. An archive of one platform of it lacks the
    /// others, and then it is the archive of that image.
    fn whole(&self, descriptor: &Descriptor, has: Has<'_>) -> Option<Whole> {
        if !is_index(descriptor.media_type()) {
            return None;
        }
        let digest = digest_of(descriptor).ok()?;
        let kind = descriptor.media_type().to_string();
        let top = Listed::new(digest, self.blob(&digest).ok()?.to_vec(), Some(&kind));
        let get = &mut |found: &manifest::Descriptor| Ok(self.blob(&found.digest)?.to_vec());
        let whole = whole::walk(top, get).ok()?;
        let here = |blob: &manifest::Descriptor| {
            has(&blob_name(&blob.digest)) || self.blob(&blob.digest).is_ok()
        };
        whole.blobs.iter().all(here).then_some(whole)
    }

    fn oci_image(&self, digest: &Digest, references: Vec<Reference>) -> Result<Found> {
        let manifest = self.blob(digest)?.to_vec();
        let parsed = crate::image::parse_manifest(&manifest)?;
        let config = self.blob(&parsed.config)?.to_vec();
        let layers = parsed.layers.iter().map(blob_name).collect();
        Ok(Found {
            manifest: Some(manifest),
            config,
            layers,
            references,
            whole: None,
        })
    }

    fn docker_images(&self) -> Result<Vec<Found>> {
        let malformed = |e| Error::document("manifest.json", e);
        let list: Vec<DockerImage> =
            serde_json::from_slice(self.document("manifest.json")?).map_err(malformed)?;
        list.into_iter()
            .map(|image| self.docker_image(image))
            .collect()
    }

    fn docker_image(&self, image: DockerImage) -> Result<Found> {
        let config = self.document(&normal(&image.config))?.to_vec();
        // The configuration's name tells its digest in every version.
        let hex = image.config.rsplit('/').next().unwrap_or_default();
        if let Some(expected) = Digest::from_hex(hex.strip_suffix(".json").unwrap_or(hex)) {
            let found = Digest::of(&config);
            if found != expected {
                let what = format!("the configuration `{}`", image.config);
                return Err(Error::DigestMismatch {
                    what,
                    expected,
                    found,
                });
            }
        }
        let tags = image.repo_tags.unwrap_or_default();
        let references = tags.iter().map(|tag| tag.parse()).collect::<Result<_>>()?;
        let layers = image
            .layers
            .unwrap_or_default()
            .iter()
            .map(|name| normal(name))
            .collect();
        Ok(Found {
            manifest: None,
            config,
            layers,
            references,
            whole: None,
        })
    }
}

/// An entry's name without `./` in front.
pub(crate) fn normal(name: &str) -> String {
    name.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect::<Vec<_>>()
        .join("/")
}

pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn parse_index(bytes: &[u8]) -> Result<ImageIndex> {
    ImageIndex::from_reader(bytes).map_err(|e| Error::document("an image index", e))
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|_| {
        Error::document(
            "an image index",
            format!("`{text}` is not a SHA-256 digest"),
        )
    })
}

fn is_index(media_type: &MediaType) -> bool {
    let docker = "application/vnd.docker.distribution.manifest.list.v2+json";
    *media_type == MediaType::ImageIndex || media_type.to_string() == docker
}

/// Signatures and build records stand beside images in an index.
fn is_attachment(descriptor: &Descriptor) -> bool {
    let reference = "vnd.docker.reference.type";
    descriptor
        .annotations()
        .as_ref()
        .is_some_and(|a| a.contains_key(reference))
        || descriptor
            .platform()
            .as_ref()
            .is_some_and(|p| p.os().to_string() == "unknown")
}

/// An image's name in an index. What is no name there (umoci and others keep a
/// bare tag, which stands for nothing elsewhere) is left out.
fn names(descriptor: &Descriptor) -> Vec<Reference> {
    let annotations = descriptor.annotations().as_ref();
    let get = |key| annotations.and_then(|a| a.get(key));
    let name = get(NAME).or_else(|| get(REF_NAME));
    name.and_then(|name| name.parse().ok())
        .into_iter()
        .collect()
}

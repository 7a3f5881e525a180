//! Which images there are: `index.json`, an OCI image index.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::Store;
use super::temp::write_atomically;
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::reference::Reference;

/// Media type of an image manifest.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image index.
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The annotation in which containerd and Docker keep an image's full name.
pub(crate) const NAME: &str = "io.containerd.image.name";
/// The tag (OCI image specification, "Annotations").
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image and one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) manifest: Digest,
    pub(crate) manifest_size: u64,
    /// OCI's or Docker's.
    pub(crate) media_type: String,
    pub(crate) id: ImageId,
    pub(crate) reference: Option<Reference>,
    /// When the image was built (RFC 3339), if it says so.
    pub(crate) created: Option<String>,
    /// Bytes of all tar streams.
    pub(crate) size: u64,
    /// The index that it came by.
    pub(crate) origin: Option<Origin>,
}

/// The index that an image came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) digest: Digest,
    /// It is kept, with the images for all of its platforms.
    pub(crate) whole: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: String,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    annotations: Annotations,
}

#[derive(Serialize, Deserialize)]
struct Annotations {
    #[serde(
        rename = "io.containerd.image.name",
        skip_serializing_if = "Option::is_none"
    )]
    name: Option<Reference>,
    #[serde(
        rename = "org.opencontainers.image.ref.name",
        skip_serializing_if = "Option::is_none"
    )]
    ref_name: Option<String>,
    #[serde(
        rename = "org.opencontainers.image.created",
        skip_serializing_if = "Option::is_none"
    )]
    created: Option<String>,
    #[serde(rename = "isola.image.id")]
    id: ImageId,
    /// Annotations are strings.
    #[serde(rename = "isola.image.size")]
    size: String,
    #[serde(
        rename = "isola.image.origin",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    origin: Option<Digest>,
    #[serde(
        rename = "isola.image.platforms",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    platforms: Option<String>,
}

/// Value of the annotation of an index that is kept with all below it.
const ALL_PLATFORMS: &str = "all";

impl From<Entry> for Descriptor {
    fn from(entry: Entry) -> Self {
        let annotations = Annotations {
            ref_name: entry
                .reference
                .as_ref()
                .and_then(|r| r.tag())
                .map(str::to_owned),
            name: entry.reference,
            created: entry.created,
            id: entry.id,
            size: entry.size.to_string(),
            platforms: entry
                .origin
                .and_then(|origin| origin.whole.then(|| ALL_PLATFORMS.to_owned())),
            origin: entry.origin.map(|origin| origin.digest),
        };
        let (media_type, digest) = (entry.media_type, entry.manifest);
        Self {
            media_type,
            digest,
            size: entry.manifest_size,
            annotations,
        }
    }
}

impl From<Descriptor> for Entry {
    fn from(descriptor: Descriptor) -> Self {
        Self {
            manifest: descriptor.digest,
            manifest_size: descriptor.size,
            media_type: descriptor.media_type,
            id: descriptor.annotations.id,
            reference: descriptor.annotations.name,
            created: descriptor.annotations.created,
            size: descriptor.annotations.size.parse().unwrap_or(0),
            origin: descriptor.annotations.origin.map(|digest| Origin {
                digest,
                whole: descriptor.annotations.platforms.as_deref() == Some(ALL_PLATFORMS),
            }),
        }
    }
}

impl Entry {
    /// The digest by which a registry knows it: the index's or the manifest's.
    pub(crate) fn known_as(&self) -> Digest {
        self.origin.map_or(self.manifest, |origin| origin.digest)
    }

    /// Its name, or its id without one.
    pub(crate) fn shown(&self) -> String {
        let name = self.reference.as_ref().map(Reference::familiar);
        name.unwrap_or_else(|| self.id.short())
    }

    /// It is meant by this digest of an index, a manifest or a configuration.
    pub(crate) fn has_digest(&self, digest: &Digest) -> bool {
        self.id == *digest || self.manifest == *digest || self.known_as() == *digest
    }
}

/// The index in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) entries: Vec<Entry>,
}

impl Index {
    /// Adds an image under a name, which another image may lose by it. An image
    /// that loses its last name stays without one.
    pub(crate) fn add(&mut self, entry: Entry) {
        if entry.reference.is_some() {
            for other in &mut self.entries {
                if other.reference == entry.reference {
                    other.reference = None;
                }
            }
        }
        self.entries.push(entry);
        self.tidy();
    }

    /// Drops nameless entries of images that have a name, and repetitions.
    pub(crate) fn tidy(&mut self) {
        let mut kept: Vec<Entry> = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let same = |other: &Entry| other.id == entry.id && other.manifest == entry.manifest;
            let named = self
                .entries
                .iter()
                .any(|other| same(other) && other.reference.is_some());
            let known = kept
                .iter()
                .any(|other| same(other) && other.reference == entry.reference);
            if !known && (entry.reference.is_some() || !named) {
                kept.push(entry.clone());
            }
        }
        self.entries = kept;
    }

    /// All names, with the images that they stand for.
    pub(crate) fn all_names(&self) -> Vec<(Reference, ImageId)> {
        let named = self.entries.iter();
        named
            .filter_map(|entry| Some((entry.reference.clone()?, entry.id)))
            .collect()
    }

    /// All names of an image.
    pub(crate) fn names(&self, id: &ImageId) -> Vec<Reference> {
        let mut names: Vec<Reference> = self
            .entries
            .iter()
            .filter(|e| e.id == *id)
            .filter_map(|e| e.reference.clone())
            .collect();
        names.sort();
        names
    }

    /// The images, each once, by their first entry.
    pub(crate) fn images(&self) -> BTreeMap<ImageId, &Entry> {
        let mut images = BTreeMap::new();
        for entry in &self.entries {
            images.entry(entry.id).or_insert(entry);
        }
        images
    }
}

impl Store {
    /// The index as it is. Renaming makes a lock needless for reading.
    pub(crate) fn read_index(&self) -> Result<Index> {
        let path = self.root.join("index.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let document: Document = serde_json::from_slice(&text)
            .map_err(|e| Error::document(format!("the store's index {}", path.display()), e))?;
        Ok(Index {
            entries: document.manifests.into_iter().map(Entry::from).collect(),
        })
    }

    /// Changes the index; nothing is written when `change` fails.
    pub(crate) fn change_index<T>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T>,
    ) -> Result<T> {
        let _lock = self.own_index()?;
        let mut index = self.read_index()?;
        let before = index.clone();
        let value = change(&mut index)?;
        if index != before {
            let manifests = index.entries.into_iter().map(Descriptor::from).collect();
            let document = Document {
                schema_version: 2,
                media_type: INDEX_TYPE.into(),
                manifests,
            };
            let text = serde_json::to_vec_pretty(&document)
                .map_err(|e| Error::document("the index", e))?;
            write_atomically(&self.temp_dir(), &self.root.join("index.json"), &text)?;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &str, name: Option<&str>) -> Entry {
        let digest = Digest::of(content.as_bytes());
        let reference = name.map(|name| name.parse().unwrap());
        Entry {
            manifest: digest,
            manifest_size: 1,
            media_type: MANIFEST_TYPE.into(),
            id: digest,
            reference,
            created: None,
            size: 0,
            origin: None,
        }
    }

    #[test]
    fn a_name_belongs_to_one_image() {
        let mut index = Index::default();
        index.add(entry("a", None));
        index.add(entry("a", Some("x")));
        assert_eq!(index.entries, [entry("a", Some("x"))]);
        index.add(entry("b", Some("x")));
        assert_eq!(index.entries, [entry("a", None), entry("b", Some("x"))]);
        index.add(entry("b", Some("x")));
        index.add(entry("b", Some("y")));
        assert_eq!(index.entries.len(), 3);
        assert_eq!(index.names(&Digest::of(b"b")).len(), 2);
        assert_eq!(index.images().len(), 2);
    }
}

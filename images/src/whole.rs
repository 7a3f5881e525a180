//! An image for all of its platforms: an index and everything that it leads to.

use std::collections::HashSet;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::registry::Platform;
use crate::registry::manifest::{self, Descriptor, Document};
use crate::store::Store;
use crate::store::index::{Entry, INDEX_TYPE, MANIFEST_TYPE};

/// Indexes may point to indexes; no deeper than this.
pub(crate) const MAX_NESTING: usize = 4;
/// Documents of one index and of those below it.
const MAX_DOCUMENTS: usize = 4096;
/// Bytes of these together.
const MAX_BYTES: usize = 64 << 20;

/// A manifest or index as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
}

/// An index with its documents, and what these name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Those that others name come before them; the index itself is the last.
    pub(crate) documents: Vec<Listed>,
    /// Configurations and layers, each once.
    pub(crate) blobs: Vec<Descriptor>,
}

impl Listed {
    /// A document that says itself what it is, or else is what `said` says.
    pub(crate) fn new(digest: Digest, bytes: Vec<u8>, said: Option<&str>) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let kind = serde_json::from_slice::<Kind>(&bytes).ok();
        let own = kind.as_ref().and_then(|kind| kind.media_type.clone());
        let said = said.and_then(|said| said.split(';').next()).map(str::trim);
        let said = said.filter(|said| manifest::ACCEPTED.contains(said));
        let usual = match kind.is_some_and(|kind| kind.manifests.is_some()) {
            true => INDEX_TYPE,
            false => MANIFEST_TYPE,
        };
        Self {
            digest,
            media_type: own.unwrap_or_else(|| said.unwrap_or(usual).to_owned()),
            bytes,
        }
    }

    pub(crate) fn parse(&self) -> Result<Document> {
        manifest::parse(&self.bytes, Some(&self.media_type))
    }
}

/// Goes through an index. `get` finds a document and checks its digest.
pub(crate) fn walk(
    top: Listed,
    get: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>>,
) -> Result<Whole> {
    let mut walk = Walk {
        get,
        seen: HashSet::from([top.digest]),
        bytes: top.bytes.len(),
        whole: Whole {
            documents: Vec::new(),
            blobs: Vec::new(),
        },
    };
    walk.add(top, 0)?;
    Ok(walk.whole)
}

struct Walk<'a> {
    get: &'a mut dyn FnMut(&Descriptor) -> Result<Vec<u8>>,
    seen: HashSet<Digest>,
    bytes: usize,
    whole: Whole,
}

impl Walk<'_> {
    fn add(&mut self, listed: Listed, depth: usize) -> Result<()> {
        match listed.parse()? {
            Document::Manifest { config, layers, .. } => {
                // What may not be passed on is fetched from elsewhere, by whoever runs it.
                let blobs = layers.into_iter().filter(|layer| !layer.is_withheld());
                for blob in blobs.chain([config]) {
                    if self.seen.insert(blob.digest) {
                        self.whole.blobs.push(blob);
                    }
                }
            }
            Document::Index(_) if depth >= MAX_NESTING => {
                let limit = MAX_NESTING.to_string();
                return Err(Error::limit("the depth of indexes in indexes", limit));
            }
            Document::Index(manifests) => {
                for found in &manifests {
                    self.below(found, depth)?;
                }
            }
        }
        self.whole.documents.push(listed);
        Ok(())
    }

    fn below(&mut self, found: &Descriptor, depth: usize) -> Result<()> {
        if !self.seen.insert(found.digest) {
            return Ok(());
        }
        let bytes = (self.get)(found)?;
        if bytes.len() as u64 != found.size {
            let what = "the manifest of the index";
            let why = format!("it has {} bytes instead of {}", bytes.len(), found.size);
            return Err(Error::document(what, why));
        }
        self.bytes += bytes.len();
        if self.bytes > MAX_BYTES || self.seen.len() > MAX_DOCUMENTS * 8 {
            let limit = format!("{MAX_BYTES} bytes");
            return Err(Error::limit(
                "the size of an index with its manifests",
                limit,
            ));
        }
        let said = Some(found.media_type.as_str());
        self.add(Listed::new(found.digest, bytes, said), depth + 1)
    }
}

impl Whole {
    /// The index itself.
    pub(crate) fn top(&self) -> Result<&Listed> {
        let missing = || Error::document("the index", "it is empty");
        self.documents.last().ok_or_else(missing)
    }

    /// The manifest for a platform.
    pub(crate) fn image(&self, name: &str, wanted: &Platform) -> Result<&Listed> {
        self.descend(|manifests| manifest::choose(name, manifests, wanted))
    }

    /// The manifest of the first image, whatever it is for.
    pub(crate) fn first(&self) -> Result<&Listed> {
        self.descend(|manifests| {
            let image = manifests.iter().find(|found| !found.is_attachment());
            image.ok_or_else(|| Error::document("the index", "it names no image"))
        })
    }

    fn descend(
        &self,
        mut choose: impl for<'a> FnMut(&'a [Descriptor]) -> Result<&'a Descriptor>,
    ) -> Result<&Listed> {
        let mut at = self.top()?;
        for _ in 0..=MAX_NESTING {
            let Document::Index(manifests) = at.parse()? else {
                return Ok(at);
            };
            let chosen = choose(&manifests)?.digest;
            let found = self.documents.iter().find(|found| found.digest == chosen);
            at = found.ok_or(Error::BlobMissing(chosen))?;
        }
        let limit = MAX_NESTING.to_string();
        Err(Error::limit("the depth of indexes in indexes", limit))
    }
}

impl Store {
    /// The index of an image that is kept for all of its platforms, with
    /// everything below it.
    pub(crate) fn whole(&self, entry: &Entry) -> Result<Option<Whole>> {
        let Some(origin) = entry.origin.filter(|origin| origin.whole) else {
            return Ok(None);
        };
        let bytes = self.read_document(&origin.digest)?;
        let top = Listed::new(origin.digest, bytes, Some(INDEX_TYPE));
        walk(top, &mut |found| self.read_document(&found.digest)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Value, json};

    use super::*;

    /// Documents by their digests.
    #[derive(Default)]
    struct Library(HashMap<Digest, Vec<u8>>);

    impl Library {
        fn add(&mut self, document: &Value) -> (Digest, usize) {
            let bytes = document.to_string().into_bytes();
            let digest = Digest::of(&bytes);
            let length = bytes.len();
            self.0.insert(digest, bytes);
            (digest, length)
        }

        fn manifest(&mut self, layer: &str, kind: &str) -> (Digest, usize) {
            let blob = |seed: &str, kind: &str| json!({"mediaType": kind, "digest": Digest::of(seed.as_bytes()), "size": 1});
            let config = "application/vnd.oci.image.config.v1+json";
            let document = json!({
                "schemaVersion": 2,
                "config": blob(&format!("config of {layer}"), config),
                "layers": [blob("shared", kind), blob(layer, kind)],
            });
            self.add(&document)
        }

        fn index(&mut self, below: &[((Digest, usize), &str)]) -> (Digest, usize) {
            let manifests = below.iter().map(|((digest, size), platform)| {
                let (os, architecture) = platform.split_once('/').unwrap();
                let platform = json!({"os": os, "architecture": architecture});
                json!({"mediaType": "", "digest": digest, "size": size, "platform": platform})
            });
            let manifests: Vec<_> = manifests.collect();
            self.add(&json!({"schemaVersion": 2, "manifests": manifests}))
        }

        fn walk(&self, top: Digest) -> Result<Whole> {
            let get = |digest: Digest| self.0.get(&digest).cloned();
            let top = Listed::new(top, get(top).unwrap(), None);
            walk(top, &mut |found| {
                get(found.digest).ok_or(Error::BlobMissing(found.digest))
            })
        }
    }

    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

    #[test]
    fn all_below_an_index_is_found_once() {
        let mut library = Library::default();
        let here = library.manifest("here", LAYER);
        let there = library.manifest("there", LAYER);
        let inner = library.index(&[(there, "linux/arm64")]);
        let top = library.index(&[
            (here, "linux/amd64"),
            (inner, "linux/arm64"),
            (here, "linux/386"),
        ]);
        let whole = library.walk(top.0).unwrap();
        let digests: Vec<_> = whole.documents.iter().map(|listed| listed.digest).collect();
        assert_eq!(digests, [here.0, there.0, inner.0, top.0]);
        assert_eq!(whole.documents[0].media_type, MANIFEST_TYPE);
        assert_eq!(whole.documents[2].media_type, INDEX_TYPE);
        // Two layers of their own, one in common, two configurations.
        assert_eq!(whole.blobs.len(), 5);
        let image = |platform: &str| {
            let image = whole.image("x", &platform.parse().unwrap());
            image.map(|listed| listed.digest)
        };
        assert_eq!(image("linux/amd64").unwrap(), here.0);
        assert_eq!(image("linux/arm64").unwrap(), there.0);
        assert!(image("linux/s390x").is_err());
        assert_eq!(whole.first().unwrap().digest, here.0);
    }

    #[test]
    fn what_must_not_be_passed_on_is_left_out() {
        let mut library = Library::default();
        let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let windows = library.manifest("base", kind);
        let top = library.index(&[(windows, "windows/amd64")]);
        assert_eq!(library.walk(top.0).unwrap().blobs.len(), 1);
    }

    #[test]
    fn wrong_indexes_are_refused() {
        let mut library = Library::default();
        let (digest, size) = library.manifest("here", LAYER);
        let wrong = library.index(&[((digest, size + 1), "linux/amd64")]);
        let gone = library.index(&[((Digest::of(b"gone"), 1), "linux/amd64")]);
        let mut deep = library.index(&[((digest, size), "linux/amd64")]);
        for _ in 0..=MAX_NESTING {
            deep = library.index(&[(deep, "linux/amd64")]);
        }
        for ((top, _), words) in [
            (wrong, "bytes instead of"),
            (gone, "is missing"),
            (deep, "depth"),
        ] {
            let error = library.walk(top).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}

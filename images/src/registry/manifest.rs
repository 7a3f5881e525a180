//! Manifests and indexes as registries have them. No I/O.

use serde::Deserialize;

use super::platform::{Platform, PlatformOf};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image;
use crate::store::index::REF_NAME;

/// Media types that are asked for.
pub(crate) const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// Layers of one image; the kernel stacks no more than 500.
const MAX_LAYERS: usize = 500;
/// Images of one index.
const MAX_IMAGES: usize = 4096;

/// Content by digest and size.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    /// Bytes.
    pub(crate) size: u64,
    #[serde(default)]
    platform: Option<PlatformOf>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// What a name or digest leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Manifest {
        config: Descriptor,
        /// Lowest first.
        layers: Vec<Descriptor>,
        /// The media type, when it is no image.
        artifact: Option<String>,
    },
    Index(Vec<Descriptor>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Reads a manifest or index. `content_type` counts where it does not say itself
/// what it is; one that could be both is refused, since others may read it
/// otherwise (CVE-2021-41190).
pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Document> {
    let malformed = |reason: &str| Error::document("the manifest", reason);
    let raw: Raw = serde_json::from_slice(bytes).map_err(|e| malformed(&e.to_string()))?;
    if raw.schema_version != 2 {
        let reason = format!(
            "it has the schema version {}; registries have had version 2 since 2016",
            raw.schema_version
        );
        return Err(malformed(&reason));
    }
    let content_type = content_type.and_then(|text| text.split(';').next());
    let said = raw.media_type.as_deref().or(content_type).map(str::trim);
    let index = said.is_some_and(|said| said == ACCEPTED[0] || said == ACCEPTED[2]);
    match (raw.config, raw.layers, raw.manifests) {
        (None, None, Some(manifests)) if index || raw.media_type.is_none() => {
            if manifests.len() > MAX_IMAGES {
                return Err(Error::limit(
                    "the number of images of an index",
                    MAX_IMAGES.to_string(),
                ));
            }
            Ok(Document::Index(manifests))
        }
        (Some(config), layers, None) if !index => {
            let layers = layers.unwrap_or_default();
            if layers.len() > MAX_LAYERS {
                return Err(Error::limit("the number of layers", MAX_LAYERS.to_string()));
            }
            let artifact = image::parse_manifest(bytes)?.artifact;
            Ok(Document::Manifest {
                config,
                layers,
                artifact,
            })
        }
        (None, None, None) => Err(malformed("it has neither layers nor manifests")),
        _ => Err(malformed(
            "it is neither a manifest nor an index but some of both",
        )),
    }
}

/// The image of an index for a platform.
pub(crate) fn choose<'a>(
    name: &str,
    manifests: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor> {
    let images = || manifests.iter().filter(|found| !found.is_attachment());
    let platform = |found: &Descriptor| found.platform.as_ref().map(Platform::from);
    let fitting = images().filter(|found| platform(found).is_some_and(|is| is.serves(wanted)));
    // The plainest variant runs on every machine of the architecture.
    let best = fitting.min_by_key(|found| {
        let is = platform(found);
        let exact = is.as_ref().is_some_and(|is| is.variant == wanted.variant);
        (!exact, is.and_then(|is| is.variant))
    });
    best.ok_or_else(|| {
        let mut found: Vec<String> = images()
            .filter_map(platform)
            .map(|p| p.to_string())
            .collect();
        found.dedup();
        Error::NoPlatform {
            name: name.to_owned(),
            wanted: wanted.to_string(),
            found: match found.is_empty() {
                true => "no platform".into(),
                false => found.join(", "),
            },
        }
    })
}

impl Descriptor {
    /// Its maker does not let it be passed on, and registries need not have it.
    pub(crate) fn is_withheld(&self) -> bool {
        self.media_type.contains(".foreign.") || self.media_type.contains(".nondistributable.")
    }

    /// The tag that an image layout knows it by.
    pub(crate) fn ref_name(&self) -> Option<&str> {
        Some(self.annotations.as_ref()?.get(REF_NAME)?)
    }

    /// Signatures and build records stand beside images in an index.
    pub(crate) fn is_attachment(&self) -> bool {
        let noted = self.annotations.as_ref();
        noted.is_some_and(|notes| notes.contains_key("vnd.docker.reference.type"))
            || self
                .platform
                .as_ref()
                .is_some_and(|platform| platform.os == "unknown")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn descriptor(seed: &str, extra: Value) -> Value {
        let mut value = json!({"mediaType": "x", "digest": Digest::of(seed.as_bytes()), "size": 1});
        value
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        value
    }

    fn plain(seed: &str) -> Value {
        descriptor(seed, json!({}))
    }

    #[test]
    fn documents_are_told_apart() {
        let manifest = json!({"schemaVersion": 2, "config": plain("c"), "layers": [plain("l")]});
        let index = json!({"schemaVersion": 2, "manifests": [plain("m")]});
        for (what, change, wrong) in [
            ("index", json!({}), None),
            ("manifest", json!({}), None),
            ("index", json!({"mediaType": ACCEPTED[2]}), None),
            ("manifest", json!({"mediaType": ACCEPTED[3]}), None),
            (
                "index",
                json!({"mediaType": ACCEPTED[1]}),
                Some("some of both"),
            ),
            (
                "manifest",
                json!({"mediaType": ACCEPTED[0]}),
                Some("some of both"),
            ),
            ("manifest", json!({"manifests": []}), Some("some of both")),
            ("index", json!({"layers": []}), Some("some of both")),
            (
                "index",
                json!({"schemaVersion": 1}),
                Some("schema version 1"),
            ),
            ("index", json!({"manifests": null}), Some("neither layers")),
            (
                "manifest",
                json!({"config": {"digest": "md5:1", "size": 1}}),
                Some("malformed"),
            ),
            (
                "manifest",
                json!({"config": descriptor("c", json!({"size": -1}))}),
                Some("malformed"),
            ),
            (
                "manifest",
                json!({"layers": vec![plain("l"); 501]}),
                Some("number of layers"),
            ),
        ] {
            let mut document = if what == "index" {
                index.clone()
            } else {
                manifest.clone()
            };
            document
                .as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            let parsed = parse(document.to_string().as_bytes(), None);
            match (&parsed, wrong) {
                (Ok(Document::Index(_)), None) => assert_eq!(what, "index", "{change}"),
                (Ok(Document::Manifest { .. }), None) => assert_eq!(what, "manifest", "{change}"),
                (Err(error), Some(word)) => {
                    assert!(error.to_string().contains(word), "{change}: {error}");
                }
                _ => panic!("{change}: {parsed:?}"),
            }
        }
        assert!(parse(b"not json", None).is_err());
    }

    #[test]
    fn the_platforms_image_is_chosen() {
        let platform = |seed: &str, os: &str, arch: &str, variant: Option<&str>| {
            let platform = json!({"os": os, "architecture": arch, "variant": variant});
            descriptor(seed, json!({"platform": platform}))
        };
        let manifests = json!([
            descriptor(
                "note",
                json!({"platform": {"os": "unknown", "architecture": "unknown"}})
            ),
            platform("amd64v3", "linux", "amd64", Some("v3")),
            platform("amd64", "linux", "amd64", None),
            platform("v6", "linux", "arm", Some("v6")),
            platform("v7", "linux", "arm", Some("v7")),
            platform("arm64", "linux", "arm64", Some("v8")),
            platform("win", "windows", "amd64", None),
        ]);
        let manifests: Vec<Descriptor> = serde_json::from_value(manifests).unwrap();
        for (wanted, expected) in [
            ("linux/amd64", "amd64"),
            ("linux/amd64/v3", "amd64v3"),
            ("linux/arm/v6", "v6"),
            ("linux/arm", "v7"),
            ("linux/arm64", "arm64"),
            ("linux/aarch64/v8", "arm64"),
            ("windows/amd64", "win"),
        ] {
            let chosen = choose("x", &manifests, &wanted.parse().unwrap()).unwrap();
            assert_eq!(chosen.digest, Digest::of(expected.as_bytes()), "{wanted}");
        }
        let error = choose("x", &manifests, &"linux/s390x".parse().unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("linux/s390x") && text.contains("linux/arm/v6"),
            "{text}"
        );
        assert!(!text.contains("unknown"), "{text}");
    }
}

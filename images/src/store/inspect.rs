//! What `isola image inspect` shows, with Docker's field names.

use serde_json::{Map, Value, json};

use super::Store;
use super::index::{Entry, Index};
use super::resolve::find;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image;
use crate::layer::build::LayerFormat;
use crate::reference::Reference;

impl Store {
    /// Everything about an image as a JSON object.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let _lock = self.share_content()?;
        let index = self.read_index()?;
        let entry = find(&index, name)?;
        let manifest = image::parse_manifest(&self.read_document(&entry.manifest)?)?;
        if let Some(kind) = &manifest.artifact {
            return Ok(artifact(&index, entry, kind, &manifest.layers));
        }
        let document = self.read_document(&manifest.config)?;
        let diff_ids = image::parse_config(&document)?.diff_ids;
        let config: Map<String, Value> = serde_json::from_slice(&document)
            .map_err(|e| Error::document("the image's configuration", e))?;
        let field = |key: &str| config.get(key).cloned().unwrap_or(Value::Null);
        let text = |key: &str| {
            config
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let names = index.names(&entry.id);
        let comment = config
            .get("history")
            .and_then(Value::as_array)
            .and_then(|history| history.last());
        let comment = comment
            .and_then(|last| last.get("comment"))
            .and_then(Value::as_str);
        let mut below = self.lowest();
        let mut layers = Vec::new();
        for diff_id in &diff_ids {
            let path = below
                .existing(diff_id)
                .unwrap_or_else(|| below.candidates(diff_id)[0].clone());
            layers.push(path.display().to_string());
            below.push(diff_id, path);
        }
        let driver = match self.format() {
            LayerFormat::Erofs => "erofs",
            LayerFormat::Directory => "overlay",
        };
        Ok(json!({
            "Id": entry.id,
            "RepoTags": tags(&names),
            "RepoDigests": digests(&names, entry),
            "Parent": "",
            "Comment": comment.unwrap_or_default(),
            "Created": field("created"),
            "DockerVersion": text("docker_version"),
            "Author": text("author"),
            "Config": field("config"),
            "Architecture": text("architecture"),
            "Variant": text("variant"),
            "Os": text("os"),
            "Size": entry.size,
            "GraphDriver": { "Name": driver, "Data": { "Layers": layers } },
            "RootFS": { "Type": "layers", "Layers": diff_ids },
            "Descriptor": {
                "mediaType": entry.media_type,
                "digest": entry.manifest,
                "size": entry.manifest_size,
            },
        }))
    }
}

/// Names with a digest are no tags.
fn tags(names: &[Reference]) -> Vec<String> {
    let names = names.iter().filter(|name| name.tag().is_some());
    names.map(Reference::familiar).collect()
}

/// The digest by which a registry knows it.
fn digests(names: &[Reference], entry: &Entry) -> Vec<String> {
    let digest = entry.known_as();
    let digests = names
        .iter()
        .map(|name| format!("{}@{digest}", name.familiar_name()));
    let mut digests: Vec<String> = digests.collect();
    digests.dedup();
    digests
}

/// What there is to tell of what is no image.
fn artifact(index: &Index, entry: &Entry, kind: &str, blobs: &[Digest]) -> Value {
    let names = index.names(&entry.id);
    json!({
        "Id": entry.id,
        "RepoTags": tags(&names),
        "RepoDigests": digests(&names, entry),
        "ArtifactType": kind,
        "Size": entry.size,
        "Blobs": blobs,
        "Descriptor": {
            "mediaType": entry.media_type,
            "digest": entry.manifest,
            "size": entry.manifest_size,
        },
    })
}

//! An image's configuration as a build changes it.

use isola_images::making::LayerBlob;
use isola_images::registry::Platform;
use isola_images::{Digest, RunConfig};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// What programs find others with when the image does not say.
pub(crate) const DEFAULT_PATH: &str =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A configuration (OCI image specification, "Image Configuration").
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    os: String,
    /// How to run it.
    #[serde(default)]
    pub config: RunConfig,
    rootfs: RootFs,
    #[serde(default)]
    history: Vec<History>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

impl ImageConfig {
    /// That of nothing: programs are found in the usual folders.
    pub fn scratch(platform: &Platform) -> ImageConfig {
        ImageConfig {
            config: RunConfig {
                env: vec![DEFAULT_PATH.to_owned()],
                ..RunConfig::default()
            },
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            ..ImageConfig::default()
        }
    }

    /// What its programs are for.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(document: &[u8]) -> Result<ImageConfig> {
        serde_json::from_slice(document).map_err(|error| {
            let message = format!("the base image's configuration is malformed: {error}");
            Error::new(Kind::Image, message)
        })
    }

    /// Writes down a step; `layer` tells whether it made one.
    pub fn step(&mut self, by: &str, created: i64, layer: bool, comment: &str) {
        self.history.push(History {
            created: Some(timestamp(created)),
            created_by: Some(by.to_owned()),
            comment: Some(comment.to_owned()),
            empty_layer: !layer,
            ..History::default()
        });
    }

    /// Sets the author of what follows.
    pub fn set_author(&mut self, author: &str) {
        self.author = Some(author.to_owned());
    }

    /// The document with these layers, made at that time.
    ///
    /// # Errors
    /// None that could happen.
    pub fn document(&self, layers: &[LayerBlob], created: i64) -> Result<Vec<u8>> {
        let config = ImageConfig {
            created: Some(timestamp(created)),
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: layers.iter().map(|layer| layer.diff_id).collect(),
            },
            ..self.clone()
        };
        serde_json::to_vec(&config).map_err(|error| Error::io("write the configuration", error))
    }

    /// When it was made, in seconds since 1970.
    pub fn created(&self) -> Option<i64> {
        let time: jiff::Timestamp = self.created.as_ref()?.parse().ok()?;
        Some(time.as_second())
    }
}

/// A time as images have it (RFC 3339).
pub fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

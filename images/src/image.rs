//! An image as those who run it see it.

use std::path::{Path, PathBuf};

use oci_spec::image::{Arch, ImageConfiguration, ImageManifest, MediaType, Os};
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::registry::Platform;

/// An image that is in the store, ready to be mounted.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the configuration.
    pub id: ImageId,
    /// The name by which it was found, or one of its names; none has an image
    /// whose names were all taken away.
    pub reference: Option<Reference>,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// The configuration (OCI image specification, "Image Configuration").
    pub config: ImageConfiguration,
    /// What Docker adds to it.
    pub extensions: Extensions,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of its uncompressed tar stream.
    pub diff_id: Digest,
    /// What can be mounted.
    pub form: LayerForm,
    /// Bytes that the EROFS image has; 0 for a folder.
    pub size: u64,
}

/// What a layer is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerForm {
    /// An EROFS image: mounted from the file or through a loop device.
    Erofs(PathBuf),
    /// A folder, used as a lower folder of an overlay.
    Directory(PathBuf),
}

impl Layer {
    /// Where it is, whatever its form.
    pub fn path(&self) -> &Path {
        match &self.form {
            LayerForm::Erofs(path) | LayerForm::Directory(path) => path,
        }
    }
}

/// Fields of a configuration's `config` that Docker knows and OCI does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Extensions {
    /// How to find out whether an instance works.
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for a build on top of it.
    pub on_build: Option<Vec<String>>,
    /// The shell for instructions in shell form.
    pub shell: Option<Vec<String>>,
    /// Seconds that an instance gets to end by itself.
    pub stop_timeout: Option<u64>,
}

/// A health check; durations are nanoseconds, 0 means the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", command]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time after which a check has failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time at the start in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks during the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make an instance unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

// serde calls it with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// What a configuration says, read once.
pub(crate) struct Parsed {
    pub(crate) config: ImageConfiguration,
    pub(crate) extensions: Extensions,
    pub(crate) diff_ids: Vec<Digest>,
}

/// Reads a configuration, OCI's or Docker's.
pub(crate) fn parse_config(bytes: &[u8]) -> Result<Parsed> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Outer {
        config: Option<Extensions>,
    }
    let malformed = |e: &dyn std::fmt::Display| Error::document("the image's configuration", e);
    let config = ImageConfiguration::from_reader(bytes).map_err(|e| malformed(&e))?;
    let outer: Outer = serde_json::from_slice(bytes).map_err(|e| malformed(&e))?;
    let diff_ids = config.rootfs().diff_ids().iter().map(|id| {
        id.parse::<Digest>()
            .map_err(|_| malformed(&format_args!("`{id}` is not a diff id")))
    });
    let diff_ids = diff_ids.collect::<Result<_>>()?;
    Ok(Parsed {
        config,
        extensions: outer.config.unwrap_or_default(),
        diff_ids,
    })
}

/// What a manifest says: the configuration and the layers, lowest first.
pub(crate) struct ParsedManifest {
    pub(crate) config: Digest,
    pub(crate) layers: Vec<Digest>,
    pub(crate) media_type: String,
    /// The type of what it is when it is no image.
    pub(crate) artifact: Option<String>,
}

/// Media types of configurations of images: OCI's and Docker's.
const CONFIG_TYPES: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// Beginnings of the media types of layers; what follows is the compression,
/// which their first bytes tell.
const LAYER_TYPES: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// What a manifest that is no image's says of its type: what it calls itself,
/// its configuration's type, or that of a layer which is none.
fn artifact_type(manifest: &ImageManifest) -> Option<String> {
    let config = manifest.config().media_type().to_string();
    if !CONFIG_TYPES.contains(&config.as_str()) {
        let own = manifest.artifact_type().as_ref().map(ToString::to_string);
        return Some(own.unwrap_or(config));
    }
    let mut types = manifest
        .layers()
        .iter()
        .map(|layer| layer.media_type().to_string());
    types.find(|kind| !LAYER_TYPES.iter().any(|known| kind.starts_with(known)))
}

/// Reads an image manifest, OCI's or Docker's schema 2.
pub(crate) fn parse_manifest(bytes: &[u8]) -> Result<ParsedManifest> {
    let malformed = |e: &dyn std::fmt::Display| Error::document("the image's manifest", e);
    let manifest = ImageManifest::from_reader(bytes).map_err(|e| malformed(&e))?;
    let digest = |descriptor: &oci_spec::image::Descriptor| {
        let text = descriptor.digest().to_string();
        text.parse::<Digest>()
            .map_err(|_| malformed(&format_args!("`{text}` is not a SHA-256 digest")))
    };
    let media_type = manifest
        .media_type()
        .clone()
        .unwrap_or(MediaType::ImageManifest)
        .to_string();
    Ok(ParsedManifest {
        artifact: artifact_type(&manifest),
        media_type,
        config: digest(manifest.config())?,
        layers: manifest
            .layers()
            .iter()
            .map(digest)
            .collect::<Result<_>>()?,
    })
}

impl Image {
    /// Whether its programs can run on this machine's kernel and processor.
    pub fn is_native(&self) -> bool {
        is_native(self.config.os(), self.config.architecture())
    }

    /// What it is for.
    pub fn platform(&self) -> Platform {
        let (os, architecture) = (self.config.os(), self.config.architecture());
        let variant = self.config.variant().as_deref();
        Platform::new(&os.to_string(), &architecture.to_string(), variant)
    }

    /// Refuses an image for another kind of machine.
    pub fn check_platform(&self) -> Result<()> {
        if self.is_native() {
            return Ok(());
        }
        let found = format!("{}/{}", self.config.os(), self.config.architecture());
        Err(Error::Platform {
            wanted: native(),
            found,
        })
    }
}

/// This machine as an image index names it.
pub(crate) fn native() -> String {
    format!("{}/{}", Os::default(), Arch::default())
}

pub(crate) fn is_native(os: &Os, architecture: &Arch) -> bool {
    *os == Os::default() && *architecture == Arch::default()
}

//! What can go wrong in the image store.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, on what, and why: one line each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a file failed.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was tried, a verb.
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file system that holds the store is full, or a quota is reached.
    #[error("no space left for the image store at {} (while trying to {op})", path.display())]
    NoSpace {
        /// What was tried, a verb.
        op: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// The archive or stream that is read failed.
    #[error("cannot read {what}: {source}")]
    Read {
        /// What was read.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// Writing an archive failed.
    #[error("cannot write the archive: {0}")]
    Write(#[source] io::Error),
    /// A malformed image name or digest.
    #[error("`{input}` is not an image name: {reason}")]
    Reference {
        /// As given.
        input: String,
        /// What is wrong.
        reason: String,
    },
    /// A malformed platform.
    #[error("`{0}` is not a platform: OS/ARCHITECTURE[/VARIANT], as linux/arm64")]
    PlatformName(String),
    /// No image has this name or id.
    #[error("no such image: {0}")]
    NotFound(String),
    /// The built-in image was named and has not been made yet: the caller makes
    /// it with [`Store::ensure_demo`](crate::Store::ensure_demo).
    #[error("the built-in image isola/demo has not been made yet")]
    DemoNotMade,
    /// More than one image has an id that begins so.
    #[error("`{prefix}` fits {} images: {}", candidates.len(), list(candidates))]
    Ambiguous {
        /// As given.
        prefix: String,
        /// The ids that fit.
        candidates: Vec<Digest>,
    },
    /// A blob's content no longer has its digest.
    #[error("blob {digest} is damaged: its content has the digest {found}")]
    BlobDamaged {
        /// Its name.
        digest: Digest,
        /// What its content hashes to.
        found: Digest,
    },
    /// A blob that an image needs is not in the store or archive.
    #[error("blob {0} is missing")]
    BlobMissing(Digest),
    /// Content that arrives does not have the digest it should have.
    #[error("{what} should have the digest {expected}, but has {found}: the archive is damaged")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The archive as a whole cannot be used.
    #[error("not a usable image archive: {0}")]
    Archive(String),
    /// A folder cannot be used as an image layout, or has no such image.
    #[error("the image layout {layout}: {reason}")]
    Layout {
        /// As given.
        layout: String,
        /// What is wrong.
        reason: String,
        /// What can be done.
        hint: String,
    },
    /// An entry of a tar stream is refused.
    #[error("refused entry `{path}`: {reason}")]
    Entry {
        /// Its name.
        path: String,
        /// Why.
        reason: String,
    },
    /// A tar stream is malformed.
    #[error("malformed tar stream: {0}")]
    Tar(String),
    /// More than the limits allow.
    #[error("refused: {what} is beyond the limit of {limit}")]
    Limit {
        /// What grew too large.
        what: String,
        /// The limit and its unit.
        limit: String,
    },
    /// A layer could not be made.
    #[error("layer {layer}: {source}")]
    Layer {
        /// Its name in the archive, or its digest.
        layer: String,
        /// Why.
        source: Box<Error>,
    },
    /// A JSON document is malformed.
    #[error("{what} is malformed: {reason}")]
    Document {
        /// Which document.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The image is for another kind of machine.
    #[error("the image is for {found}, this machine is {wanted}")]
    Platform {
        /// What this machine is.
        wanted: String,
        /// What the image has.
        found: String,
    },
    /// An index has no image for the platform that is wanted.
    #[error("{name} is not made for {wanted}, but for {found}")]
    NoPlatform {
        /// The image's name.
        name: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The image that a registry has is for another kind of machine, and
    /// nobody asked for that.
    #[error("{name} is for {found}, this machine is {wanted}")]
    ForeignPlatform {
        /// The image's name.
        name: String,
        /// What it is for.
        found: String,
        /// What this machine is.
        wanted: String,
    },
    /// Instances use the image.
    #[error("image {image} is in use by {}", by.join(", "))]
    InUse {
        /// The image.
        image: String,
        /// Who uses it.
        by: Vec<String>,
    },
    /// An id was given of an image that has several names.
    #[error("image {image} has several names: {}", names.join(", "))]
    SeveralNames {
        /// The image.
        image: String,
        /// Its names.
        names: Vec<String>,
    },
    /// A `--change` instruction is wrong.
    #[error("cannot apply the change `{line}`: {reason}")]
    Change {
        /// As given.
        line: String,
        /// What is wrong.
        reason: String,
    },
    /// A registry could not be spoken to, or stopped speaking.
    #[error("cannot reach the registry {host}: {reason}")]
    Unreachable {
        /// Host, and port where one is used.
        host: String,
        /// The last try's reason.
        reason: String,
    },
    /// A registry answered with an error.
    #[error("the registry {host} refused {what}: {reason}")]
    RegistryRefused {
        /// Host, and port where one is used.
        host: String,
        /// What was asked.
        what: String,
        /// Status and, where it gave one, its reason.
        reason: String,
    },
    /// An address could not be downloaded.
    #[error("cannot download {address}: {reason}")]
    Download {
        /// The address.
        address: String,
        /// The server's status, or why there is none.
        reason: String,
    },
    /// A registry does not let this user do it.
    #[error("the registry {host} denied access to {what}{}", because(reason))]
    Denied {
        /// Host, and port where one is used.
        host: String,
        /// What was asked.
        what: String,
        /// Its reason, where it gave one.
        reason: String,
    },
    /// A registry does not have the image, or not for who asks.
    #[error("the registry {host} has no image {name}")]
    NotOnRegistry {
        /// Host, and port where one is used.
        host: String,
        /// The image's name.
        name: String,
    },
    /// What a registry says cannot be so.
    #[error("the registry {host} breaks the protocol: {reason}")]
    RegistryProtocol {
        /// Host, and port where one is used.
        host: String,
        /// What it did.
        reason: String,
    },
    /// What a registry sends does not have the digest or size it should have.
    #[error("{what} should have the digest {expected}, but the registry {host} sent {found}")]
    RegistryDigest {
        /// Host, and port where one is used.
        host: String,
        /// What was asked for.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Names, passwords, tokens or certificates cannot be read or kept.
    #[error("{0}")]
    Credentials(String),
    /// It is something else than an image.
    #[error("{name} is not an image but an artifact of the type {kind}")]
    Artifact {
        /// Its name or id.
        name: String,
        /// Its media type.
        kind: String,
    },
    /// Another process holds the store.
    #[error("the image store at {} is busy: {what}", path.display())]
    Busy {
        /// The store.
        path: PathBuf,
        /// Who holds it.
        what: &'static str,
    },
}

fn because(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason => format!(": {reason}"),
    }
}

fn list(digests: &[Digest]) -> String {
    digests
        .iter()
        .map(Digest::short)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Error {
    /// Wraps a failed system call on `path`; a full disk gets its own kind.
    pub(crate) fn io(op: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { op, path },
            _ => Self::Io { op, path, source },
        }
    }

    /// An entry of a tar stream that is refused.
    pub(crate) fn entry(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry {
            path: path.escape_ascii().to_string(),
            reason: reason.into(),
        }
    }

    /// Something that grew beyond a limit.
    pub(crate) fn limit(what: impl Into<String>, limit: impl Into<String>) -> Self {
        Self::Limit {
            what: what.into(),
            limit: limit.into(),
        }
    }

    /// A malformed JSON document.
    pub(crate) fn document(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Document {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    /// Names the layer in which it happened.
    pub(crate) fn in_layer(self, layer: impl Into<String>) -> Self {
        match self {
            Self::NoSpace { .. } | Self::Layer { .. } => self,
            other => Self::Layer {
                layer: layer.into(),
                source: Box::new(other),
            },
        }
    }

    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoSpace { .. } => "free some space, or remove images with `isola rmi`".into(),
            Self::NotFound(_) => {
                "`isola images` lists what is there; `isola pull`, `isola load` and `isola import` add images"
                    .into()
            }
            Self::Denied { host, .. } => {
                format!("log in with `isola login {host}`, or check the name: registries also deny what is not there")
            }
            Self::NotOnRegistry { .. } => {
                "check the name and the tag; what needs a login is often said not to be there".into()
            }
            Self::Unreachable { reason, .. } if reason.contains("certificate") => {
                "put the certificate of who signed it into /etc/docker/certs.d/HOST:PORT/ca.crt, or name it as `ca` in the settings"
                    .into()
            }
            Self::Artifact { .. } => "it can be pulled, pushed and removed, but not run".into(),
            Self::Ambiguous { .. } => "give more digits of the id".into(),
            Self::BlobDamaged { .. } | Self::BlobMissing(_) => {
                "`isola system check` tells all damage; pull or load the image again".into()
            }
            Self::ForeignPlatform { found, .. } => format!(
                "`isola pull --platform {found}` gets it all the same, to be pushed or saved"
            ),
            Self::NoPlatform { .. } => {
                "--platform takes one of those; what is for other machines can be pushed and saved, but not run here".into()
            }
            Self::Layout { hint, .. } => hint.clone(),
            Self::InUse { .. } => "remove these instances first".into(),
            Self::SeveralNames { .. } => {
                "remove its names one by one, or add -f to remove all".into()
            }
            Self::Layer { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}

//! The store: a folder that several processes use at once.
//!
//! Locks (flock(2) on files in the store):
//! - `content.lock`: shared while someone adds content or takes an image into
//!   use, exclusive while content is deleted. So what was resolved or is being
//!   loaded cannot vanish, and whatever lies in `tmp` while the lock is held
//!   exclusively belongs to a process that died.
//! - `index.lock`: exclusive for the short moment in which `index.json` is read,
//!   changed and renamed into place. Taken after `content.lock`, never before.

mod asked;
pub(crate) mod below;
pub(crate) mod blobs;
mod check;
pub(crate) mod index;
pub(crate) mod ingest;
mod inspect;
mod list;
mod lock;
mod remove;
pub(crate) mod resolve;
mod tag;
mod telling;
pub(crate) mod temp;
pub(crate) mod usage;

use std::fs;
use std::path::{Path, PathBuf};

use isola_journal::Journal;

use crate::error::{Error, Result};
use crate::layer::build::LayerFormat;
use crate::limits::Limits;

pub use check::{CheckTold, Checked, Finding, Mended};
pub use list::Summary;
pub use remove::{InUse, Removed};
pub use resolve::Pinned;
pub use usage::{ImageUsage, Step, Usage};

/// Name of the built-in image.
pub const DEMO: &str = "isola/demo";

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// A store of images. Cheap to open; may be used from several threads.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    format: LayerFormat,
    limits: Limits,
    /// Where changes are told, if anywhere.
    journal: Option<Journal>,
}

impl Store {
    /// Opens the store in the folder `root`, which is made when absent. New
    /// layers get the form `format`; layers that exist in the other form only
    /// are made anew when they are resolved.
    pub fn open(root: &Path, format: LayerFormat) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|e| Error::io("open", root, e))?;
        let store = Self {
            root,
            format,
            limits: Limits::default(),
            journal: None,
        };
        for dir in [store.blob_dir(), store.layer_dir(), store.temp_dir()] {
            fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;
        }
        let layout = store.root.join("oci-layout");
        if !layout.exists() {
            // Layers hold set-user-id programs with their owners: others than
            // the store's owner must not reach them.
            private(&store.root)?;
            temp::write_atomically(&store.temp_dir(), &layout, LAYOUT.as_bytes())?;
        }
        Ok(store)
    }

    /// The same store with other limits for what is added.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same store, which tells what happens to images.
    #[must_use]
    pub fn with_journal(self, journal: Journal) -> Self {
        Self {
            journal: Some(journal),
            ..self
        }
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> LayerFormat {
        self.format
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn blob_dir(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn layer_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn temp_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

fn private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .map_err(|e| Error::io("protect", dir, e))
}

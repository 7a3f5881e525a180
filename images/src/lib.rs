//! Content store, image references, layers as EROFS images, archives, registries.
//!
//! A [`Store`] is a folder: `blobs/sha256/` and `index.json` as in an OCI image
//! layout, so that other tools can read it, and `layers/`, in which each layer
//! is one uncompressed EROFS image (or a folder, see [`LayerFormat`]) named by
//! its diff id. Containers mount these files, guests get them as a disk.
//!
//! ```no_run
//! # fn main() -> isola_images::Result<()> {
//! use isola_images::{LayerFormat, Store};
//! let store = Store::open("/var/lib/isola/images".as_ref(), LayerFormat::Erofs)?;
//! let archive = std::fs::File::open("debian.tar").unwrap();
//! store.load(archive, &|_| ())?;
//! let image = store.resolve("debian")?;
//! for layer in &image.layers {
//!     println!("{} {}", layer.diff_id, layer.path().display());
//! }
//! # Ok(())
//! # }
//! ```

mod archive;
mod changes;
mod digest;
mod erofs;
mod error;
pub mod files;
#[doc(hidden)]
pub mod fuzz;
mod image;
mod import;
mod layer;
mod limits;
pub mod making;
mod reference;
pub mod registry;
mod store;
mod whole;

pub use archive::{LayoutAddress, Loaded, Progress};
pub use changes::RunConfig;
pub use digest::{Digest, ImageId};
pub use error::{Error, Result};
pub use image::{Extensions, Healthcheck, Image, Layer, LayerForm};
pub use import::{DemoProgram, ImportSource};
pub use layer::Compression;
pub use layer::build::LayerFormat;
pub use layer::header::Segment;
pub use layer::packed::{head, is_packed, is_tar, unpacked};
pub use layer::tar::{Entry as TarEntry, EntryKind, TarReader};
pub use layer::write::{NewEntry, TarWriter};
pub use limits::Limits;
pub use reference::{DEFAULT_DOMAIN, Reference};
pub use store::{
    CheckTold, Checked, DEMO, Finding, ImageUsage, InUse, Mended, Pinned, Removed, Step, Store,
    Summary, Usage,
};

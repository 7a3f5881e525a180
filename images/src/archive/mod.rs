//! Image archives, OCI and Docker, read and written, and OCI image layouts, read.

mod address;
mod check;
mod documents;
mod layout;
mod load;
mod save;
mod workers;

pub use address::LayoutAddress;
pub(crate) use check::new_manifest;
pub use load::{Loaded, Progress};

//! Image archives: OCI and Docker, read and written.

mod check;
mod documents;
mod load;
mod save;
mod workers;

pub(crate) use check::new_manifest;
pub use load::{Loaded, Progress};

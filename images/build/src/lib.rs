//! Builds images from Dockerfiles.

pub mod dockerfile;
mod error;
mod glob;

pub use error::{Error, Kind, Place, Result};

//! Layers: from a (compressed) tar stream to something that can be mounted.

pub(crate) mod apply;
pub(crate) mod build;
pub(crate) mod compress;
pub(crate) mod header;
pub(crate) mod packed;
mod path;
mod pax;
mod sparse;
pub(crate) mod spool;
pub(crate) mod tar;
pub(crate) mod tree;
pub(crate) mod unpack;
pub(crate) mod write;

pub use compress::Compression;

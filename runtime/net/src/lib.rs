//! Networks of instances.

pub mod daemon;

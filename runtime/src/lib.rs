//! From a workload to a running instance.

pub mod backend;
pub mod build;
pub mod cgroup;
pub mod config;
pub mod control;
pub mod engine;
pub mod error;
pub(crate) mod events;
pub mod joined;
pub mod links;
pub mod observe;
pub mod rootfs;
pub mod seccomp;
pub mod state;
pub mod storage;
pub mod supervisor;
pub mod workload;

pub use error::{Error, Kind, Result};

//! What is to run, resolved and checked, free of any backend.
//!
//! [`Options`] (what the user said), [`ImageFacts`], [`WallCapabilities`] and
//! [`HostFacts`] go in, a [`Workload`] or one [`crate::Error`] comes out.

mod host;
mod image;
mod model;
mod names;
mod namespaces;
mod options;
mod resolve;
mod resources;
mod signals;
mod spec;
mod units;
mod walls;

pub use host::{FileKind, Files, HostFacts, Stat};
pub use image::ImageFacts;
pub use model::*;
pub use namespaces::{IpcMode, NamespaceModes, Own, PidMode};
pub use options::{ExecOptions, Options};
pub use resolve::{LinkFlags, attachment, merge_volumes_from, parse_volumes_from, resolve};
pub(crate) use resources::CPU_PERIOD;
pub use resources::{BlockDevice, BlockIo, Disk, Resources};
pub use signals::{parse_signal, signal_name};
pub use spec::{Surroundings, exec_spec, name_files, sandbox_spec};
pub use units::{
    format_cpu_list, format_size, parse_cpu_list, parse_cpus, parse_duration, parse_size,
};
pub use walls::{Feature, Support, WallCapabilities, WallDefaults};

#[cfg(test)]
mod tests;

//! Builds images from Dockerfiles.
//!
//! Text becomes instructions ([`dockerfile`], pure), stages become layers, one per
//! instruction that changes files. Layers are made in the store as they are written.
//! Nothing here runs anything: programs go through [`Runner`], images of registries
//! through [`Images`].

mod archive;
mod build;
mod changes;
mod config;
mod copy;
pub mod dockerfile;
mod error;
mod git;
mod glob;
mod graph;
mod ignore;
mod key;
mod options;
mod output;
mod owner;
mod run;
mod scope;
mod stage;
mod step_copy;
mod step_run;
mod tree;

pub use build::{Built, build};
pub use changes::write_changes;
pub use config::{ImageConfig, timestamp};
pub use error::{Error, Kind, Place, Result};
pub use git::{GitAddress, GitScheme};
pub use ignore::Ignore;
pub use options::{Context, Download, Event, ImageSource, Images, Options, Step, Told};
pub use output::write_tree;
pub use run::{Job, JobMount, Runner, Said, Take};
pub use tree::{Node, Tree};

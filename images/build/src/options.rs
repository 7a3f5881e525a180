//! What a build is asked for, and what it tells on the way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use isola_images::making::{Base, Lease};
use isola_images::registry::Platform;
use isola_images::{Layer, LayoutAddress};

use crate::dockerfile::Network;
use crate::error::Result;
use crate::git::GitAddress;
use crate::tree::Tree;

/// A build.
#[derive(Debug)]
pub struct Options {
    /// The Dockerfile's text.
    pub dockerfile: String,
    /// What it is called in messages.
    pub name: String,
    /// Files to copy from.
    pub context: Tree,
    /// Further contexts (`--build-context`).
    pub contexts: BTreeMap<String, Context>,
    /// What the images are for (`--platform`), each once: one image for each.
    pub platforms: Vec<Platform>,
    /// The stage to build; the last one.
    pub target: Option<String>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--secret`: names and contents.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// `--ssh`: names and sockets of agents.
    pub ssh: BTreeMap<String, PathBuf>,
    /// `--network` of steps that do not say.
    pub network: Network,
    /// `--add-host`.
    pub hosts: Vec<String>,
    /// `--shm-size`.
    pub shm_size: Option<String>,
    /// Do all steps again.
    pub no_cache: bool,
    /// Stages whose steps are all done again.
    pub no_cache_filter: Vec<String>,
    /// Times are clamped to this (`SOURCE_DATE_EPOCH`), in seconds since 1970.
    pub epoch: Option<i64>,
    /// Where caches of `RUN --mount=type=cache` are kept.
    pub caches: PathBuf,
}

/// A further context.
#[derive(Debug)]
pub enum Context {
    /// Files.
    Tree(Tree),
    /// An image.
    Image(ImageSource),
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// In the store, or a registry.
    Name(String),
    /// In a folder. Only the user names one, never a Dockerfile.
    Layout(LayoutAddress),
}

/// Images that a build begins with or copies from.
pub trait Images: Sync {
    /// Finds an image, gets it if needed, and keeps it with the lease.
    ///
    /// # Errors
    /// There is none, it can't be got, or is for another platform.
    fn base(&self, lease: &Lease, image: &ImageSource, platform: &Platform) -> Result<Base>;

    /// Fetches a repository of ADD, and keeps its files with the lease: with `.git` if
    /// `keep` is set, at a commit that begins with `commit` if one is given.
    ///
    /// # Errors
    /// It can't be had, or is not what a Dockerfile may name.
    fn clone(
        &self,
        lease: &Lease,
        address: &GitAddress,
        keep: bool,
        commit: Option<&str>,
    ) -> Result<Layer>;

    /// Opens an address of ADD.
    ///
    /// # Errors
    /// It can't be had.
    fn download(&self, address: &str) -> Result<Download>;
}

/// What an address gave.
pub struct Download {
    /// The content.
    pub body: Box<dyn std::io::Read>,
    /// When it was changed, in seconds since 1970.
    pub modified: Option<i64>,
    /// The last part of its address.
    pub name: String,
    /// It came without TLS from another machine.
    pub unproven: bool,
}

/// A step: the stage's number and name, its own number and how many there are, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Number in the whole build, in the order in which steps begin.
    pub id: usize,
    /// What the image is for, where several are built.
    pub platform: Option<Platform>,
    /// Name or number of the stage.
    pub stage: String,
    /// Number in the stage.
    pub number: usize,
    /// Steps of the stage.
    pub of: usize,
    /// The instruction.
    pub text: String,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A step begins.
    Begin(&'a Step),
    /// A step did not have to be done again.
    Cached(&'a Step),
    /// A program of a step has written something; whether it is an error.
    Output(&'a Step, &'a [u8], bool),
    /// A step is done.
    Done(&'a Step, Duration),
    /// A step has failed.
    Failed(&'a Step),
    /// Something that is odd.
    Warning(String),
}

/// Hears of a build.
pub type Told<'a> = &'a (dyn Fn(&Event<'_>) + Sync);

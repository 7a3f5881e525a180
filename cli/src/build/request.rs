//! What a build is asked for: flags of `isola build` and compose files say the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use isola_build::dockerfile::Network;
use isola_build::{Built, Error, Event, Job, Kind, Runner, Said, Take};
use isola_images::Store;
use isola_images::registry::Platform;
use isola_runtime::build::Steps;
use isola_runtime::workload::{Isolation, Options as Limits};

use super::images::BuildImages;
use super::inputs::Inputs;
use super::progress::Shown;
use crate::context::Context;
use crate::error::Result;

/// A build.
pub(crate) struct Request {
    /// Files to copy from: a folder, an address, or `-`.
    pub(crate) context: String,
    pub(crate) dockerfile: Source,
    /// What the images are for: one for each.
    pub(crate) platforms: Vec<Platform>,
    /// The stage; the last one.
    pub(crate) target: Option<String>,
    pub(crate) args: BTreeMap<String, String>,
    /// Further contexts by name: folders, addresses, `docker-image://IMAGE`,
    /// `oci-layout://FOLDER`.
    pub(crate) contexts: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Contents by name.
    pub(crate) secrets: BTreeMap<String, Vec<u8>>,
    /// Sockets of agents by name.
    pub(crate) ssh: BTreeMap<String, PathBuf>,
    pub(crate) network: Network,
    /// `NAME:ADDRESS`
    pub(crate) hosts: Vec<String>,
    pub(crate) shm_size: Option<String>,
    pub(crate) no_cache: bool,
    pub(crate) no_cache_filter: Vec<String>,
    /// Images are fetched even if they are here.
    pub(crate) pull: bool,
    /// Nothing is shown of what is fetched.
    pub(crate) quiet: bool,
    /// Walls of steps; the first that works is taken.
    pub(crate) walls: Vec<Isolation>,
    /// Limits of steps.
    pub(crate) limits: Limits,
}

/// Where the Dockerfile is.
pub(crate) enum Source {
    /// In the context, under one of the usual names.
    Usual,
    /// This file; `-` is standard input.
    File(String),
    /// Given as text, which messages call by a name.
    Text { name: String, text: String },
}

impl Request {
    /// Builds it, for each platform; the result is nobody's yet. It fails soon after `stop` says so.
    pub(crate) fn build(
        self,
        context: &Context,
        store: &Store,
        shown: &Shown,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Built>> {
        let settings = context.settings()?;
        let mut limits = self.limits.clone();
        settings.fill(&mut limits, &context.environment());
        let walls = self.walls.clone();
        let agent = self.ssh.get("default").cloned();
        let images = BuildImages::new(context, store, self.pull, self.quiet, agent)?;
        let inputs = Inputs::read(self, context, store)?;
        let steps = Until {
            steps: Steps::new(context.engine()?, settings, &walls, limits),
            stop,
        };
        let native = Platform::native();
        let result = isola_build::build(
            store,
            &inputs.options,
            &images,
            &steps,
            &native,
            &|event: &Event<'_>| shown.tell(event),
        );
        drop(steps);
        shown.end();
        result.map_err(|error| super::failure(error, shown.has_told_output()))
    }
}

/// Runs steps until it is told to stop.
struct Until<'a> {
    steps: Steps<'a>,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Runner for Until<'_> {
    fn check(&self, hosts: &[String], shm_size: Option<&str>) -> isola_build::Result<()> {
        self.steps.check(hosts, shm_size)
    }

    fn run(
        &self,
        job: &Job<'_>,
        said: Said<'_>,
        take: Take<'_>,
        stop: &dyn Fn() -> bool,
    ) -> isola_build::Result<()> {
        if (self.stop)() {
            return Err(Error::new(Kind::Cancelled, "the build was stopped"));
        }
        self.steps.run(job, said, take, &|| stop() || (self.stop)())
    }
}

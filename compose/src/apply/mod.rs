//! Carrying a plan out: steps side by side as far as they do not depend on each
//! other. Nothing polls: a step that waits is woken by the supervisor it asked, and
//! the loop by steps that end.

mod cancel;
mod contents;
mod hooks;
mod instances;
mod journal;
mod resources;
mod run;
mod waits;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use isola_images::Pinned;
use isola_runtime::config::Config;
use isola_runtime::engine::Engine;
use isola_runtime::workload::Isolation;
use isola_runtime::{Error, Result};

pub use cancel::Cancel;
pub use hooks::{exec, post_start, pre_stop};
pub use instances::{Made, alone, create, one_off, stop};
pub use journal::Journal;
pub use run::{Outcome, run};

use crate::load::Model;
use crate::plan::What;
use crate::project::Project;

/// A compose file with its project.
#[derive(Clone, Copy, Debug)]
pub struct Loaded<'a> {
    /// The file.
    pub model: &'a Model,
    /// The project as it is typed.
    pub project: &'a Project,
}

/// What steps work with.
pub struct World<'a> {
    /// Instances.
    pub engine: &'a Engine,
    /// The user's settings.
    pub config: &'a Config,
    /// Walls of services that name none.
    pub default_walls: &'a [Isolation],
    /// The file, where there is one.
    pub loaded: Option<Loaded<'a>>,
    /// The project's name.
    pub name: &'a str,
    /// Images of services, by the names that these give.
    pub images: &'a BTreeMap<String, Pinned>,
    /// Removes an image that no instance uses.
    pub remove_image: &'a (dyn Fn(&str) -> Result<()> + Sync),
    /// Who is told how far it is.
    pub teller: &'a dyn Teller,
    /// Ends it early.
    pub cancel: &'a Cancel,
    /// Unnamed volumes are not taken over.
    pub renew_volumes: bool,
    /// Seconds until SIGKILL instead of the instances' own.
    pub stop_timeout: Option<u64>,
    /// Waiting for health ends then.
    pub deadline: Option<Instant>,
    /// Steps at once at most, but for those that only wait.
    pub at_once: Option<usize>,
    /// Where what is done is noted, so that it can be taken back when it fails.
    pub journal: Option<&'a Journal>,
}

impl World<'_> {
    fn loaded(&self) -> Result<Loaded<'_>> {
        self.loaded.ok_or_else(|| {
            let kind = isola_runtime::Kind::Invalid;
            Error::new(kind, "this needs the compose file").hint("name it with -f")
        })
    }

    /// Notes what is done, where it is to be taken back.
    fn note(&self, done: journal::Done) {
        if let Some(journal) = self.journal {
            journal.note(done);
        }
    }

    /// Whether an instance only waits to go.
    fn is_aside(&self, id: &str) -> bool {
        self.journal.is_some_and(|journal| journal.is_aside(id))
    }

    /// The deadline has passed.
    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|at| at <= Instant::now())
    }

    /// Where contents of secrets and configs are written to.
    pub fn store(&self) -> PathBuf {
        store(self.engine, self.name)
    }
}

/// Where contents of a project's secrets and configs are written to.
pub fn store(engine: &Engine, project: &str) -> PathBuf {
    engine.paths().root().join("compose").join(project)
}

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has begun.
    Working,
    /// It is done.
    Done,
    /// It failed.
    Failed,
}

/// Who is told about steps. Calls come from several threads.
pub trait Teller: Sync {
    /// A step is that far.
    fn step(&self, what: &What, stage: Stage);

    /// Something that a person should know.
    fn say(&self, text: &str);
}

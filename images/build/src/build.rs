//! A whole build: stages side by side, each as soon as what it needs is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use isola_images::Store;
use isola_images::making::{Lease, MadeLayer};
use isola_images::registry::Platform;

use crate::config::ImageConfig;
use crate::dockerfile::{Dockerfile, parse};
use crate::error::{Error, Kind, Result};
use crate::graph;
use crate::options::{Context, Event, Images, Options, Told};
use crate::run::Runner;
use crate::scope::Globals;
use crate::stage;

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// What it is for, as it was asked for.
    pub platform: Platform,
    /// The configuration's document.
    pub config: Vec<u8>,
    /// The layers, the lowest first.
    pub layers: Vec<MadeLayer>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Keeps the layers until the image is added.
    pub lease: Lease,
}

/// What all stages share.
pub(crate) struct Build<'a> {
    pub(crate) store: &'a Store,
    pub(crate) lease: &'a Lease,
    pub(crate) options: &'a Options,
    pub(crate) images: &'a dyn Images,
    pub(crate) runner: &'a dyn Runner,
    pub(crate) told: Told<'a>,
    pub(crate) file: &'a Dockerfile,
    pub(crate) globals: Globals,
    /// Now, or the epoch, in seconds since 1970.
    pub(crate) now: i64,
    /// What programs can be run here.
    pub(crate) native: &'a Platform,
    /// What this image is for.
    pub(crate) platform: &'a Platform,
    steps: &'a AtomicUsize,
    failed: AtomicBool,
    finished: Mutex<Finished>,
    news: Condvar,
}

#[derive(Default)]
struct Finished {
    stages: BTreeMap<usize, Arc<StageDone>>,
    error: Option<Error>,
}

/// A stage that is done.
#[derive(Debug)]
pub(crate) struct StageDone {
    pub(crate) config: ImageConfig,
    pub(crate) layers: Vec<MadeLayer>,
    pub(crate) created: i64,
    pub(crate) key: isola_images::Digest,
}

/// Builds an image for each platform, one after the other. Nothing is added to the
/// store's images yet.
///
/// # Errors
/// The first that happened, with its place in the Dockerfile.
pub fn build(
    store: &Store,
    options: &Options,
    images: &dyn Images,
    runner: &dyn Runner,
    native: &Platform,
    told: Told<'_>,
) -> Result<Vec<Built>> {
    let outside = Outside {
        store,
        options,
        images,
        runner,
        native,
        told,
    };
    let all = || {
        let file = parse(&options.dockerfile)?;
        let steps = AtomicUsize::new(0);
        let each = options.platforms.iter();
        each.map(|platform| outside.build(&file, platform, &steps))
            .collect::<Result<Vec<Built>>>()
    };
    all().map_err(|error: Error| error.in_file(&options.name))
}

/// What a build was given.
#[derive(Clone, Copy)]
struct Outside<'a> {
    store: &'a Store,
    options: &'a Options,
    images: &'a dyn Images,
    runner: &'a dyn Runner,
    native: &'a Platform,
    told: Told<'a>,
}

impl Outside<'_> {
    fn build(self, file: &Dockerfile, platform: &Platform, steps: &AtomicUsize) -> Result<Built> {
        let Outside {
            store,
            options,
            images,
            runner,
            native,
            told,
        } = self;
        let globals = Globals::new(
            &options.args,
            &file.globals,
            (native, platform),
            options.epoch,
            file.directives.escape,
        )?;
        let target = graph::target(file, options.target.as_deref())?;
        let bases = file
            .stages
            .iter()
            .map(|stage| globals.expand(&stage.from.image))
            .collect::<Result<Vec<String>>>()?;
        let contexts: BTreeSet<String> = options.contexts.keys().cloned().collect();
        let needed = graph::needed(file, target, &bases, &contexts);
        runner.check(&options.hosts, options.shm_size.as_deref())?;
        let lease = store.lease()?;
        let build = Build {
            store,
            lease: &lease,
            options,
            images,
            runner,
            told,
            file,
            globals,
            now: options
                .epoch
                .unwrap_or_else(|| jiff::Timestamp::now().as_second()),
            native,
            platform,
            steps,
            failed: AtomicBool::new(false),
            finished: Mutex::default(),
            news: Condvar::new(),
        };
        let done = build.stages(&needed, &bases, target)?;
        for name in build.globals.unused() {
            told(&Event::Warning(format!(
                "no ARG names the build argument {name}: it was of no use"
            )));
        }
        let mut config = done.config.clone();
        let labels = options.labels.clone();
        config.config.labels.extend(labels);
        let blobs: Vec<_> = done.layers.iter().map(|made| made.blob).collect();
        Ok(Built {
            platform: platform.clone(),
            config: config.document(&blobs, done.created)?,
            layers: done.layers.clone(),
            created: done.created,
            lease,
        })
    }
}

impl Build<'_> {
    fn stages(
        &self,
        needed: &BTreeMap<usize, BTreeSet<usize>>,
        bases: &[String],
        target: usize,
    ) -> Result<Arc<StageDone>> {
        std::thread::scope(|scope| {
            for (&index, waits) in needed {
                let base = bases[index].as_str();
                scope.spawn(move || {
                    let result = match self.wait_for(waits) {
                        true => stage::run(self, index, base),
                        false => return,
                    };
                    self.finish(index, result);
                });
            }
        });
        let mut finished = self.finished();
        if let Some(error) = finished.error.take() {
            return Err(error);
        }
        finished.stages.remove(&target).ok_or_else(|| {
            Error::new(
                Kind::System,
                "the stage to build has ended without a result",
            )
        })
    }

    fn finished(&self) -> MutexGuard<'_, Finished> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for stages; false when one has failed.
    fn wait_for(&self, stages: &BTreeSet<usize>) -> bool {
        let mut finished = self.finished();
        loop {
            if finished.error.is_some() {
                return false;
            }
            if stages
                .iter()
                .all(|index| finished.stages.contains_key(index))
            {
                return true;
            }
            finished = self
                .news
                .wait(finished)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, index: usize, result: Result<StageDone>) {
        let mut finished = self.finished();
        match result {
            Ok(done) => drop(finished.stages.insert(index, Arc::new(done))),
            Err(error) => {
                self.failed.store(true, Ordering::Release);
                // The first is the reason, the others may follow from it.
                let first = finished.error.is_none() && error.kind != Kind::Cancelled;
                if first
                    || finished
                        .error
                        .as_ref()
                        .is_some_and(|e| e.kind == Kind::Cancelled)
                {
                    finished.error = Some(error);
                }
            }
        }
        self.news.notify_all();
    }

    /// Whether another stage has failed.
    pub(crate) fn is_stopped(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// A stage that this one has waited for.
    pub(crate) fn stage(&self, index: usize) -> Option<Arc<StageDone>> {
        self.finished().stages.get(&index).cloned()
    }

    /// Where several images are built, steps say for which.
    pub(crate) fn shown_platform(&self) -> Option<Platform> {
        (self.options.platforms.len() > 1).then(|| self.platform.clone())
    }

    pub(crate) fn next_step(&self) -> usize {
        self.steps.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A further context of this name.
    pub(crate) fn context(&self, name: &str) -> Option<&Context> {
        self.options.contexts.get(name)
    }
}

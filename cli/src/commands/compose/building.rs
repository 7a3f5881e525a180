//! Building images of services: side by side as far as none is built upon another.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Write, stderr};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use isola_build::dockerfile::Network;
use isola_build::{Ignore, Tree};
use isola_compose::apply::Cancel;
use isola_compose::project::{Build, Project, Ulimit};
use isola_compose::{Building, Model, builds};
use isola_images::registry::Platform;
use isola_images::{ImageId, Reference, Store};
use isola_runtime::workload::Options as Limits;

use super::scope::Scope;
use super::screen::Screen;
use super::work;
use crate::build::{self, Output, Request, Shown, Source};
use crate::context::Context;
use crate::error::{Code, Failure, Result};
use crate::output::clean;
use crate::progress::Way;

/// Builds at once at most; the stages of each go side by side, too.
const MOST: usize = 4;

/// What flags add to what the file says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extra<'a> {
    /// `NAME=VALUE`
    pub(super) args: &'a [String],
    pub(super) ssh: &'a [String],
    pub(super) no_cache: bool,
    pub(super) pull: bool,
    pub(super) memory: Option<&'a str>,
}

/// Builds the images of these services, and what they are built upon.
pub(super) fn build(
    context: &Context,
    scope: &Scope,
    services: &BTreeSet<&str>,
    extra: &Extra<'_>,
    screen: Screen,
) -> Result<()> {
    let (model, project) = scope.file()?;
    let planned = builds(project, services).map_err(|error| placed(model, error))?;
    let reader = Reader {
        context,
        model,
        project,
        extra,
    };
    // All that files and flags say is read before the first build begins.
    let read = planned
        .iter()
        .map(|building| {
            let about = format!("services.{}", building.service);
            let read = reader.read(building, screen);
            read.map_err(|failure| failure.about(&about))
        })
        .collect::<Result<Vec<Ready>>>()?;
    if read.is_empty() {
        return Ok(());
    }
    let store = context.store()?;
    let cancel = Cancel::new()?;
    let most = scope.at_once.unwrap_or(MOST).min(MOST);
    let (built, came) = work::interruptible(&|| cancel.cancel(), || {
        Queue::new(context, &store, &cancel, screen).run(&planned, read, most)
    })?;
    match (built, came) {
        (Ok(()), true) => Err(work::interrupted(false)),
        (built, _) => built,
    }
}

/// The same error with the place of what it is about.
fn placed(model: &Model, error: isola_runtime::Error) -> Failure {
    const KEYS: [&str; 4] = ["platforms", "privileged", "entitlements", "network"];
    let message = error.message.clone();
    let about = message.strip_prefix("services.");
    let place = match about.and_then(|rest| rest.split_once(".build: ")) {
        Some((name, what)) => {
            let key = KEYS
                .iter()
                .find(|key| what.contains(key.trim_end_matches('s')));
            let build = ["services", name, "build"];
            let keys: Vec<&str> = build.into_iter().chain(key.copied()).collect();
            model.place(&keys)
        }
        None => String::new(),
    };
    let mut failure = Failure::from(error);
    failure.message = format!("{place}{message}");
    failure
}

/// A build that can begin once what it is built upon is there.
struct Ready {
    request: Request,
    names: Vec<Reference>,
}

/// From what a file says to what is asked for.
struct Reader<'a> {
    context: &'a Context,
    model: &'a Model,
    project: &'a Project,
    extra: &'a Extra<'a>,
}

impl Reader<'_> {
    fn read(&self, building: &Building, screen: Screen) -> Result<Ready> {
        let Building { build, .. } = building;
        let environment = &self.model.environment;
        let mut args = BTreeMap::new();
        for (name, value) in &build.args {
            args.extend(value.clone().map(|value| (name.clone(), value)));
        }
        args.extend(build::pairs("--build-arg", self.extra.args, environment)?);
        let mut ssh = build::agents("build.ssh", &build.ssh, environment)?;
        ssh.extend(build::agents("--ssh", self.extra.ssh, environment)?);
        let walls = match building.walls.is_empty() {
            true => self
                .context
                .settings()?
                .choose(None, &self.context.environment())?,
            false => building.walls.clone(),
        };
        let network = build.network.as_deref().filter(|text| !text.is_empty());
        let host = |line: &String| line.replacen('=', ":", 1);
        let request = Request {
            context: build.context.clone(),
            dockerfile: dockerfile(&building.service, build),
            platforms: vec![building.platform.clone().unwrap_or_else(Platform::native)],
            target: build.target.clone(),
            args,
            contexts: contexts(build)?,
            labels: building.labels.clone(),
            secrets: self.secrets(build)?,
            ssh,
            network: network.and_then(Network::parse).unwrap_or_default(),
            hosts: build.extra_hosts.iter().map(host).collect(),
            shm_size: build.shm_size.map(|size| size.0.to_string()),
            no_cache: build.no_cache || self.extra.no_cache,
            no_cache_filter: build.no_cache_filter.clone(),
            pull: build.pull || self.extra.pull,
            // Two kinds of lines that change would be in each other's way.
            quiet: screen.way != Way::Plain,
            walls,
            limits: self.limits(build),
        };
        let names = std::iter::once(&building.image).chain(&build.tags);
        let names = names.map(|name| name_of(name)).collect::<Result<_>>()?;
        Ok(Ready { request, names })
    }

    fn limits(&self, build: &Build) -> Limits {
        let ulimit = |(name, limit): (&String, &Ulimit)| match limit {
            Ulimit::Single(both) => format!("{name}={both}"),
            Ulimit::Both { soft, hard } => format!("{name}={soft}:{hard}"),
        };
        Limits {
            memory: self.extra.memory.map(str::to_owned),
            ulimit: build.ulimits.iter().map(ulimit).collect(),
            ..Limits::default()
        }
    }

    /// Contents of secrets, by the names that steps know them by.
    fn secrets(&self, build: &Build) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut secrets = BTreeMap::new();
        for wanted in &build.secrets {
            let source = &wanted.source;
            let wrong = |why: String| {
                Failure::new(Code::Invalid, format!("build.secrets: {source} {why}"))
                    .hint("give it by `file`, `environment` or `content`")
            };
            let secret = self.project.secrets.get(source);
            let secret = secret.ok_or_else(|| wrong("is not declared".into()))?;
            let content = match (&secret.file, &secret.environment, &secret.content) {
                (Some(path), ..) => build::read_secret(path.as_ref())?,
                (None, Some(name), _) => match self.model.environment.get(name) {
                    Some(value) => value.clone().into_bytes(),
                    None => return Err(wrong(format!("comes from {name}, which is not set"))),
                },
                (None, None, Some(text)) => text.clone().into_bytes(),
                (None, None, None) => return Err(wrong("has no content here".into())),
            };
            let id = wanted.target.as_ref().filter(|target| !target.is_empty());
            secrets.insert(id.unwrap_or(source).clone(), content);
        }
        Ok(secrets)
    }
}

fn name_of(name: &str) -> Result<Reference> {
    let reference: Reference = name.parse()?;
    match reference.digest() {
        None => Ok(reference),
        Some(_) => {
            let message = format!("{name}: what is built can't have a digest for a name");
            Err(Failure::new(Code::Invalid, message))
        }
    }
}

fn dockerfile(service: &str, build: &Build) -> Source {
    if let Some(text) = &build.dockerfile_inline {
        return Source::Text {
            name: format!("services.{service}.build.dockerfile_inline"),
            text: text.clone(),
        };
    }
    match build.dockerfile.as_deref() {
        // As when nothing is said: a Containerfile will do.
        None | Some("" | "Dockerfile") => Source::Usual,
        Some(path) => {
            let path = std::path::Path::new(&build.context).join(path);
            Source::File(path.to_string_lossy().into_owned())
        }
    }
}

/// Contexts that are not made first; images of services come later.
fn contexts(build: &Build) -> Result<BTreeMap<String, String>> {
    let mut contexts = BTreeMap::new();
    for (name, source) in &build.additional_contexts {
        if source.starts_with("service:") {
            continue;
        }
        // A folder that is not there is told before the first build begins.
        if !source.contains("://") && !source.starts_with("git@") {
            let tree = Tree::host(source.as_ref(), Ignore::default());
            tree.map_err(|error| build::failure(error, true))?;
        }
        contexts.insert(name.clone(), source.clone());
    }
    Ok(contexts)
}

/// Builds that are to be done, and what became of others.
struct Queue<'a> {
    context: &'a Context,
    store: &'a Store,
    cancel: &'a Cancel,
    screen: Screen,
    lines: MultiProgress,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// By their places in the plan.
    waiting: BTreeMap<usize, Ready>,
    /// Ids of images that are built, by name.
    built: BTreeMap<String, ImageId>,
    failed: Vec<Failure>,
}

impl<'a> Queue<'a> {
    fn new(context: &'a Context, store: &'a Store, cancel: &'a Cancel, screen: Screen) -> Self {
        let target = match screen.way {
            Way::Live => ProgressDrawTarget::stderr_with_hz(10),
            _ => ProgressDrawTarget::hidden(),
        };
        Queue {
            context,
            store,
            cancel,
            screen,
            lines: MultiProgress::with_draw_target(target),
            state: Mutex::default(),
            news: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does all of them; the last failure is the result, others are reported.
    fn run(&self, planned: &[Building], read: Vec<Ready>, most: usize) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.max(2).min(most).min(read.len());
        self.state().waiting = read.into_iter().enumerate().collect();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.work(planned));
            }
        });
        let mut failed = std::mem::take(&mut self.state().failed);
        let first = match failed.is_empty() {
            true => None,
            // Others may have been stopped because of it.
            false => Some(failed.remove(0)),
        };
        match first {
            Some(failure) => Err(failure),
            None if self.cancel.is_over() => {
                let message = "interrupted; images that were built so far stay";
                Err(Failure::new(Code::Conflict, message).exit(130))
            }
            None => Ok(()),
        }
    }

    fn work(&self, planned: &[Building]) {
        while let Some((building, ready)) = self.next(planned) {
            let result = self.one(building, ready);
            let mut state = self.state();
            match result {
                Ok(id) => drop(state.built.insert(building.image.clone(), id)),
                // Whoever was stopped has not failed.
                Err(_) if self.cancel.is_over() => state.waiting.clear(),
                Err(failure) => {
                    let about = format!("services.{}", building.service);
                    state.failed.push(failure.about(&about));
                    state.waiting.clear();
                    self.cancel.cancel();
                }
            }
            drop(state);
            self.news.notify_all();
        }
    }

    /// Waits for a build that can begin; nothing when none is left.
    fn next<'p>(&self, planned: &'p [Building]) -> Option<(&'p Building, Ready)> {
        let mut state = self.state();
        loop {
            if state.waiting.is_empty() || self.cancel.is_over() {
                return None;
            }
            let begins = |index: &usize| {
                let mut upon = planned[*index].upon.values();
                upon.all(|image| state.built.contains_key(image))
            };
            let index = state.waiting.keys().copied().find(begins);
            if let Some((index, mut ready)) =
                index.and_then(|index| Some((index, state.waiting.remove(&index)?)))
            {
                for (name, image) in &planned[index].upon {
                    let id = state.built.get(image);
                    let base = id.map(|id| format!("docker-image://{id}"));
                    ready
                        .request
                        .contexts
                        .extend(base.map(|base| (name.clone(), base)));
                }
                return Some((&planned[index], ready));
            }
            state = self
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn one(&self, building: &Building, ready: Ready) -> Result<ImageId> {
        self.tell(&building.image, "Building");
        let shown = Shown::one_of(self.screen.way, &building.service, &self.lines);
        let stop = || self.cancel.is_over();
        let built = ready
            .request
            .build(self.context, self.store, &shown, &stop)?;
        let output = Output::image(ready.names);
        let id = output.write(self.context, self.store, &built, true)?;
        self.tell(&building.image, "Built");
        id.ok_or_else(|| Failure::internal("an image was built and has no id"))
    }

    /// As steps of a plan are told.
    fn tell(&self, image: &str, word: &str) {
        let text = format!(" Image {}  {word}", clean(image));
        match self.screen.way {
            Way::Live if word == "Built" => drop(self.lines.println(format!(" ✔{text}"))),
            Way::Plain => drop(writeln!(stderr(), "{text}")),
            Way::Json => {
                let object = serde_json::json!({ "id": format!("Image {image}"), "text": word });
                let _ = writeln!(stderr(), "{object}");
            }
            _ => {}
        }
    }
}

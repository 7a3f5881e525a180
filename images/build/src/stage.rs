//! One stage: from its base through its instructions.

mod source;

use std::time::Instant;

use isola_images::files::Files;
use isola_images::making::{LayerWriter, MadeLayer};
use isola_images::registry::Platform;
use isola_images::{Digest, Layer};

use crate::build::{Build, StageDone};
use crate::config::ImageConfig;
use crate::dockerfile::{Command, Instruction, Item, Word, parse_trigger};
use crate::error::{Error, Kind, Place, Result};
use crate::graph;
use crate::key::Key;
use crate::options::{Context, Event, ImageSource, Step};
use crate::scope::Scope;

pub(crate) use source::Source;

/// A stage that is being built.
pub(crate) struct Stage<'a> {
    pub(crate) build: &'a Build<'a>,
    pub(crate) index: usize,
    pub(crate) config: ImageConfig,
    pub(crate) layers: Vec<MadeLayer>,
    pub(crate) key: Digest,
    pub(crate) scope: Scope,
    /// When the last layer was made.
    pub(crate) created: i64,
    no_cache: bool,
}

/// Builds a stage on `base`, which is what follows its FROM.
pub(crate) fn run(build: &Build<'_>, index: usize, base: &str) -> Result<StageDone> {
    let stage = &build.file.stages[index];
    let name = stage.name.clone().unwrap_or_else(|| index.to_string());
    let mut step = Step {
        id: build.next_step(),
        platform: build.shown_platform(),
        stage: name.clone(),
        number: 1,
        of: stage.items.len() + 1,
        text: format!("FROM {base}"),
    };
    let mut running = told(build, &step, stage.from.place, || {
        from(build, index, base).map(|made| (made, true))
    })?;
    let triggers = std::mem::take(&mut running.config.config.on_build);
    let triggers = triggers
        .iter()
        .map(|text| {
            parse_trigger(text).map(|item| Item {
                place: stage.from.place,
                ..item
            })
        })
        .collect::<Result<Vec<_>>>()
        .map_err(|mut error| {
            error.at = None;
            error.or_at(stage.from.place)
        })?;
    step.of += triggers.len();
    for item in triggers.iter().chain(&stage.items) {
        if build.is_stopped() {
            return Err(Error::new(Kind::Cancelled, "another stage has failed"));
        }
        step = Step {
            id: build.next_step(),
            number: step.number + 1,
            text: item.text.clone(),
            ..step
        };
        told(build, &step, item.place, || running.item(item, &step))?;
    }
    Ok(StageDone {
        config: running.config,
        layers: running.layers,
        created: running.created,
        key: running.key,
    })
}

/// Does a step, and tells about it. The step says whether it had to be done.
fn told<T>(
    build: &Build<'_>,
    step: &Step,
    place: Place,
    work: impl FnOnce() -> Result<(T, bool)>,
) -> Result<T> {
    let started = Instant::now();
    (build.told)(&Event::Begin(step));
    match work() {
        Ok((value, done)) => {
            (build.told)(&match done {
                true => Event::Done(step, started.elapsed()),
                false => Event::Cached(step),
            });
            Ok(value)
        }
        Err(error) => {
            (build.told)(&Event::Failed(step));
            Err(error.or_at(place))
        }
    }
}

fn from<'a>(build: &'a Build<'a>, index: usize, name: &str) -> Result<Stage<'a>> {
    let stage = &build.file.stages[index];
    let none = name.is_empty();
    if none {
        let message = format!("the name {:?} after FROM is empty", stage.from.image.text);
        return Err(Error::at(stage.from.image.place, message)
            .hint("an ARG before the first FROM, or --build-arg, gives it a value"));
    }
    let platform = match &stage.from.platform {
        Some(word) => {
            let text = build.globals.expand(word)?;
            text.parse::<Platform>().map_err(|error| {
                let message = format!("--platform={text}: {error}");
                Error::at(word.place, message)
            })?
        }
        None => build.platform.clone(),
    };
    let own = stage.name.clone().unwrap_or_else(|| index.to_string());
    let filter = &build.options.no_cache_filter;
    let mut made = Stage {
        build,
        index,
        config: ImageConfig::scratch(&platform),
        layers: Vec::new(),
        key: Key::of_layers(&[]),
        scope: Scope::default(),
        created: build.options.epoch.unwrap_or(0),
        no_cache: build.options.no_cache || filter.contains(&own),
    };
    let image = match build.context(name) {
        Some(Context::Image(image)) => image.clone(),
        Some(Context::Tree(_)) => {
            let message = format!("the build context {name} is a folder, not an image");
            return Err(Error::at(stage.from.image.place, message));
        }
        None if name == "scratch" => return Ok(made),
        None => match graph::stage(build.file, index, name) {
            Some(before) if stage.from.image.text.parse::<usize>().is_err() => {
                let done = build.stage(before).ok_or_else(|| lost(name))?;
                made.config = done.config.clone();
                made.layers.clone_from(&done.layers);
                (made.key, made.created) = (done.key, done.created);
                return Ok(made);
            }
            _ => ImageSource::Name(name.to_owned()),
        },
    };
    let base = build.images.base(build.lease, &image, &platform)?;
    made.config = ImageConfig::parse(&base.config)?;
    let diff_ids: Vec<Digest> = base.layers.iter().map(|made| made.blob.diff_id).collect();
    made.key = Key::of_layers(&diff_ids);
    made.layers = base.layers;
    let created = made.config.created().unwrap_or(0);
    made.created = crate::copy::clamp(created, build.options.epoch);
    Ok(made)
}

fn lost(name: &str) -> Error {
    Error::new(Kind::System, format!("the stage {name} has no result"))
}

impl Stage<'_> {
    pub(crate) fn mountable(&self) -> Vec<Layer> {
        self.layers.iter().map(|made| made.layer.clone()).collect()
    }

    pub(crate) fn expand(&self, word: &Word) -> Result<String> {
        self.scope
            .expand(&self.build.globals, word, &self.config.config)
    }

    fn expand_all(&self, words: &[Word]) -> Result<Vec<String>> {
        words.iter().map(|word| self.expand(word)).collect()
    }

    /// Does one instruction. Says whether it had to be done.
    fn item(&mut self, item: &Item, step: &Step) -> Result<((), bool)> {
        let done = match &item.instruction {
            Instruction::Run(run) => return self.run(run, item, step).map(|done| ((), done)),
            Instruction::Copy(copy) => return self.copy(copy, item).map(|done| ((), done)),
            Instruction::Workdir(word) => {
                return self.workdir(word, item).map(|done| ((), done));
            }
            other => self.setting(other, item.place),
        };
        done?;
        self.config.step(&item.text, self.created, false, "isola");
        Ok(((), true))
    }

    /// An instruction that makes no layer.
    fn setting(&mut self, instruction: &Instruction, place: Place) -> Result<()> {
        let wrong = |why: String| Error::at(place, why);
        match instruction {
            Instruction::Env(pairs) => {
                for (key, value) in self.pairs(pairs)? {
                    self.config.config.set_env(&key, &value);
                }
            }
            Instruction::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                self.config.config.labels.extend(pairs);
            }
            Instruction::Arg(args) => {
                for arg in args {
                    let config = &self.config.config;
                    self.scope.declare(&self.build.globals, arg, config)?;
                }
            }
            Instruction::User(word) => {
                let user = self.expand(word)?;
                if user.is_empty() || user.contains(char::is_whitespace) {
                    return Err(wrong(format!("USER {user:?} is not one word")));
                }
                self.config.config.user = Some(user);
            }
            Instruction::Entrypoint(command) => {
                // A CMD of the base was meant for its own entry point.
                self.config.config.cmd = None;
                self.config.config.entrypoint = self.command(command);
            }
            Instruction::Cmd(command) => self.config.config.cmd = self.command(command),
            Instruction::Expose(words) => {
                for word in self.expand_all(words)? {
                    for port in word.split_whitespace() {
                        self.config.config.expose_port(port).map_err(wrong)?;
                    }
                }
            }
            Instruction::Volume(words) => {
                for path in self.expand_all(words)? {
                    if path.is_empty() {
                        return Err(wrong("a volume needs a path".into()));
                    }
                    self.config.config.volumes.insert(path);
                }
            }
            Instruction::Stopsignal(word) => {
                let signal = self.expand(word)?;
                self.config.config.stop_with(&signal).map_err(wrong)?;
            }
            Instruction::Healthcheck(text) => {
                self.config.config.check_health(text).map_err(wrong)?;
            }
            Instruction::Shell(words) => self.config.config.shell.clone_from(words),
            Instruction::Onbuild(text) => self.config.config.on_build.push(text.clone()),
            Instruction::Maintainer(name) => self.config.set_author(name),
            Instruction::Run(_) | Instruction::Copy(_) | Instruction::Workdir(_) => {}
        }
        Ok(())
    }

    /// All are expanded before the first is set.
    fn pairs(&self, pairs: &[(Word, Word)]) -> Result<Vec<(String, String)>> {
        let pair = |(key, value): &(Word, Word)| Ok((self.expand(key)?, self.expand(value)?));
        pairs.iter().map(pair).collect()
    }

    fn command(&self, command: &Command) -> Option<Vec<String>> {
        Some(command.args(&self.config.config.shell()))
    }

    /// WORKDIR makes the folder if it is not there.
    fn workdir(&mut self, word: &Word, item: &Item) -> Result<bool> {
        let path = self.expand(word)?;
        if path.is_empty() {
            return Err(Error::at(word.place, "WORKDIR needs a path"));
        }
        let wrong = |why: String| Error::at(word.place, why);
        self.config.config.change_dir(&path).map_err(wrong)?;
        let path = self.config.config.working_dir.clone().unwrap_or_default();
        let user = self.config.config.user.clone().unwrap_or_default();
        let (now, epoch) = (self.build.now, self.build.options.epoch);
        let before = self.key;
        let files = &Files::open(&self.mountable())?;
        if files.lookup(path.as_bytes(), true)?.is_some() {
            self.config.step(&item.text, self.created, false, "isola");
            return Ok(true);
        }
        // As the user who will work there.
        let owner = match user.is_empty() {
            true => None,
            false => Some(crate::owner::owner(&user, files).map_err(wrong)?),
        };
        let rules = crate::copy::Rules {
            owner,
            chmod: None,
            exclude: crate::ignore::Ignore::default(),
            now,
            link: false,
        };
        let mut plan = crate::copy::Plan::new(files, rules);
        let real = plan.resolve(path.as_bytes())?;
        plan.folder(&real)?;
        let mut key = Key::after(&before, "workdir");
        plan.hash(&mut key)?;
        let layers = &self.layers;
        let (made, created, done) = make(self.build, self.no_cache, layers, key, item, |tar| {
            plan.write(tar, epoch)
        })?;
        self.add(made, created, item, "isola");
        Ok(done)
    }

    /// Takes a layer up.
    pub(crate) fn add(
        &mut self,
        made: (Digest, MadeLayer),
        created: i64,
        item: &Item,
        comment: &str,
    ) {
        self.key = made.0;
        self.layers.push(made.1);
        self.created = created;
        self.config.step(&item.text, created, true, comment);
    }

    pub(crate) fn without_cache(&self) -> bool {
        self.no_cache
    }

    /// Another stage's, context's or image's files.
    pub(crate) fn source(&self, name: &str, place: Place) -> Result<Source<'_>> {
        let build = self.build;
        let image = match build.context(name) {
            Some(Context::Tree(tree)) => return Ok(Source::Context(tree)),
            Some(Context::Image(image)) => image.clone(),
            None => match graph::stage(build.file, self.index, name) {
                Some(index) => {
                    let done = build.stage(index).ok_or_else(|| lost(name))?;
                    let layers: Vec<Layer> =
                        done.layers.iter().map(|made| made.layer.clone()).collect();
                    let tree = crate::tree::Tree::layers(Files::open(&layers)?);
                    return Ok(Source::Own(Box::new(tree)));
                }
                None if name == "scratch" => {
                    let tree = crate::tree::Tree::layers(Files::open(&[])?);
                    return Ok(Source::Own(Box::new(tree)));
                }
                None => {
                    let own = build.file.stages[self.index].name.as_deref();
                    if own == Some(name.to_ascii_lowercase().as_str()) {
                        let message = format!("the stage {name} can't copy from itself");
                        return Err(Error::at(place, message));
                    }
                    ImageSource::Name(name.to_owned())
                }
            },
        };
        let base = build
            .images
            .base(build.lease, &image, build.platform)
            .map_err(|error| error.or_at(place))?;
        let layers: Vec<Layer> = base.layers.iter().map(|made| made.layer.clone()).collect();
        let tree = crate::tree::Tree::layers(Files::open(&layers)?);
        Ok(Source::Own(Box::new(tree)))
    }
}

/// The layer of a step: the remembered one, or a new one, and when it was made. Says
/// also whether it had to be made.
#[allow(clippy::type_complexity)]
pub(crate) fn make(
    build: &Build<'_>,
    no_cache: bool,
    below: &[MadeLayer],
    key: Key,
    item: &Item,
    fill: impl FnOnce(&mut LayerWriter<'_>) -> Result<()>,
) -> Result<((Digest, MadeLayer), i64, bool)> {
    let mut key = key;
    if let Some(epoch) = build.options.epoch {
        key.add(b"epoch").numbers(&[epoch.cast_unsigned()]);
    }
    let key = key.finish();
    if !no_cache && let Some((made, created)) = build.store.recall(build.lease, &key, below)? {
        return Ok(((key, made), created, false));
    }
    let made = build.store.make_layer(build.lease, below, fill)?;
    build.store.remember(&key, &made, &item.text, build.now)?;
    Ok(((key, made), build.now, true))
}

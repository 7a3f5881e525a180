//! Making instances.

use std::cell::RefCell;
use std::collections::BTreeMap;

use isola_images::{Image, LayerForm};
use isola_volume::Volumes;

use crate::backend::{Choice, select};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::rootfs::RootLayer;
use crate::state::{
    InstancePaths, Lock, Record, Status, new_id, now_ms, random_name, valid_name, write_json,
    write_json_unsynced,
};
use crate::workload::{
    HostFacts, ImageFacts, Isolation, Options, WallCapabilities, Workload, resolve,
};

use super::{Engine, Instance, volumes};

/// What is to be created.
#[derive(Clone, Debug)]
pub struct Create<'a> {
    /// The image, resolved and pinned by the caller.
    pub image: &'a Image,
    /// The image as the user named it.
    pub image_name: &'a str,
    /// What the user said.
    pub options: &'a Options,
    /// The user's settings: sizes of guests where `options` names none.
    pub config: &'a Config,
    /// Walls that the user allows, the first that works is taken; never empty.
    pub isolation: &'a [Isolation],
    /// The name, or one is made up.
    pub name: Option<&'a str>,
    /// The record of an instance whose unnamed volumes it takes over.
    pub inherit: Option<&'a Record>,
}

/// What is to be created of an image that may not be here yet; the fields are those
/// of [`Create`].
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The image as the user named it.
    pub image_name: &'a str,
    /// What the user said.
    pub options: &'a Options,
    /// The user's settings.
    pub config: &'a Config,
    /// Walls that the user allows.
    pub isolation: &'a [Isolation],
    /// The name, or one is made up.
    pub name: Option<&'a str>,
}

impl<'a> Create<'a> {
    fn wish(&self) -> Wish<'a> {
        Wish {
            image_name: self.image_name,
            options: self.options,
            config: self.config,
            isolation: self.isolation,
            name: self.name,
        }
    }
}

impl Engine {
    /// Chooses a wall, resolves the workload and writes the instance's record.
    /// Whatever can be refused is refused before anything is made.
    ///
    /// # Errors
    /// No allowed wall works here, the options or the image make no workload, the
    /// name is taken, or the record can't be written.
    pub fn create(&self, create: &Create<'_>) -> Result<Instance> {
        let id = new_id()?;
        let facts = ImageFacts {
            health: create.image.extensions.healthcheck.clone(),
            ..ImageFacts::new(
                create.image_name,
                &create.image.id.to_string(),
                &create.image.config,
            )
        };
        let host = HostFacts::read()?;
        let choice = select(create.isolation, &self.paths)?;
        let mut workload = self.plan(&create.wish(), &choice, &facts, &host, &id)?;
        let name = create
            .name
            .map_or_else(random_name, |name| Ok(name.to_owned()))?;
        let layers = create.image.layers.iter().map(|layer| match &layer.form {
            LayerForm::Erofs(path) => RootLayer::Erofs(path.clone()),
            LayerForm::Directory(path) => RootLayer::Directory(path.clone()),
        });
        let layers = layers.collect();
        if let Some(old) = create.inherit {
            volumes::inherit(&mut workload, old);
        }
        volumes::name(&mut workload)?;
        let record = Record {
            id,
            name,
            created_ms: now_ms(),
            isolation_reason: choice.reason,
            layers,
            workload,
        };
        let instance = Instance {
            record,
            status: Status::created(),
        };
        // The record comes first: whoever is killed from here on leaves volumes that it
        // names, so that they go with it.
        self.write_new(&instance)?;
        let store = Volumes::open(self.paths.root())?;
        match volumes::make(&store, &instance.record.workload) {
            Ok(made) => made.keep(),
            Err(error) => {
                self.remove(&instance, true)?;
                return Err(error);
            }
        }
        self.tell(&instance, "create");
        Ok(instance)
    }

    /// Refuses what can be refused without the image, for one who has to get that
    /// first.
    ///
    /// # Errors
    /// As [`Engine::create`], as far as they do not depend on the image.
    pub fn check(&self, wish: &Wish<'_>) -> Result<()> {
        self.checker()?.check(wish)
    }

    /// The same for many wishes: what the host can do is asked once.
    ///
    /// # Errors
    /// The host can't be asked.
    pub fn checker(&self) -> Result<Checker<'_>> {
        Ok(Checker {
            engine: self,
            host: HostFacts::read()?,
            choices: RefCell::default(),
        })
    }

    fn plan(
        &self,
        wish: &Wish<'_>,
        choice: &Choice,
        facts: &ImageFacts,
        host: &HostFacts<'_>,
        id: &str,
    ) -> Result<Workload> {
        let walls = wish.config.adjust(WallCapabilities::of(choice.isolation));
        let mut workload = resolve(wish.options, facts, &walls, host, id)?;
        volumes::check_networks(self.paths.root(), &workload)?;
        self.add_volumes_from(&wish.options.volumes_from, &mut workload)?;
        if let Some(name) = wish.name
            && !valid_name(name)
        {
            return Err(Error::new(Kind::Invalid, format!("invalid name {name:?}"))
                .hint("a name has 2 to 128 of the characters a-z A-Z 0-9 _ . - and starts with a letter or digit"));
        }
        Ok(workload)
    }

    /// The record is written under a name out of sight and renamed, so that an
    /// instance is there with all its files or not at all.
    fn write_new(&self, instance: &Instance) -> Result<()> {
        let _lock = Lock::wait(&self.paths.lock())?;
        let record = &instance.record;
        let files = self.files(instance);
        let new = self.paths.instance(&format!(".new-{}", record.id));
        super::private_folder(new.dir())?;
        let written = write_records(&new, instance)
            .and_then(|()| Lock::wait(&new.lock()).map(drop))
            .and_then(|()| self.names.claim(&record.name, &record.id))
            .and_then(|()| {
                std::fs::rename(new.dir(), files.dir())
                    .map_err(|error| Error::io("write", files.dir(), error))
            });
        if written.is_err() {
            self.names.release(&record.name, &record.id);
            super::remove::clear(new.dir());
        }
        written
    }
}

/// Checks wishes on one host.
pub struct Checker<'e> {
    engine: &'e Engine,
    host: HostFacts<'static>,
    choices: RefCell<BTreeMap<Vec<Isolation>, Choice>>,
}

impl Checker<'_> {
    /// As [`Engine::check`].
    ///
    /// # Errors
    /// Those of it.
    pub fn check(&self, wish: &Wish<'_>) -> Result<()> {
        let known = self.choices.borrow().get(wish.isolation).cloned();
        let choice = match known {
            Some(choice) => choice,
            None => {
                let choice = select(wish.isolation, &self.engine.paths)?;
                let mut choices = self.choices.borrow_mut();
                choices.insert(wish.isolation.to_vec(), choice.clone());
                choice
            }
        };
        let facts = ImageFacts::unknown(wish.image_name);
        let made = self
            .engine
            .plan(wish, &choice, &facts, &self.host, &new_id()?);
        made.map(drop)
    }
}

/// Writes what an instance starts with. What goes with its run need not outlive the
/// host's: its folder is marked as such instead of being synced.
fn write_records(files: &InstancePaths, instance: &Instance) -> Result<()> {
    let Instance { record, status } = instance;
    if record.is_transient() {
        let mark = files.transient();
        std::fs::File::create_new(&mark).map_err(|error| Error::io("write", &mark, error))?;
        write_json_unsynced(&files.config(), record)?;
        write_json_unsynced(&files.status(), status)
    } else {
        write_json(&files.config(), record)?;
        write_json(&files.status(), status)
    }
}

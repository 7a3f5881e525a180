//! What an `up` has done so far, so that it can be taken back (`--rollback`): what was
//! there before is put aside under another name, and goes when all is done.

use std::sync::{Mutex, MutexGuard, PoisonError};

use isola_net::{Network, NetworkSpec, Networks};
use isola_runtime::engine::Instance;
use isola_runtime::{Error, Kind, Result};

use super::{Stage, World, contents, instances, resources};
use crate::label;
use crate::options::Content;
use crate::plan::What;

/// Kept while a plan is carried out.
#[derive(Debug, Default)]
pub struct Journal {
    done: Mutex<Vec<Done>>,
}

/// One thing that was done; noted before it is, where that is possible.
#[derive(Debug)]
pub(super) enum Done {
    /// A network was made, by its name.
    Network(String),
    /// A network was removed.
    NetworkGone(Box<Network>),
    /// A volume was made, by its name.
    Volume(String),
    /// An instance was made, by its id.
    Instance(String),
    /// An instance that is to go was given another name.
    Aside {
        id: String,
        name: String,
        /// Its unnamed volumes go, too.
        volumes: bool,
    },
    /// An instance that lived is stopped.
    Stopped(String),
    /// An instance that did not live is started.
    Started(String),
    /// What a secret or config held before.
    Content(Content, Option<Vec<u8>>),
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Done>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, done: Done) {
        self.lock().push(done);
    }

    /// Whether an instance is to go when all is done.
    pub(super) fn is_aside(&self, id: &str) -> bool {
        let mut done = self.lock();
        done.iter_mut()
            .any(|done| matches!(done, Done::Aside { id: of, .. } if of == id))
    }

    /// All went well: what was put aside goes.
    pub(super) fn finish(&self, world: &World<'_>) -> Vec<Error> {
        let mut failed = Vec::new();
        for done in std::mem::take(&mut *self.lock()) {
            if let Done::Aside { id, volumes, .. } = done {
                failed.extend(remove(world, &id, volumes).err());
            }
        }
        failed
    }

    /// Takes all back. What fails does not keep the rest from being taken back.
    pub(super) fn take_back(&self, world: &World<'_>) -> Vec<Error> {
        let mut done = std::mem::take(&mut *self.lock());
        // The last comes first.
        done.reverse();
        let mut failed = Vec::new();
        // Names, addresses and volumes are free once the new instances are gone, and
        // networks once nobody runs in them.
        for step in [made, started, surroundings, names, stopped] {
            for done in &done {
                failed.extend(step(world, done).err());
            }
        }
        failed
    }
}

/// New instances go.
fn made(world: &World<'_>, done: &Done) -> Result<()> {
    match done {
        Done::Instance(id) => remove(world, id, true),
        _ => Ok(()),
    }
}

/// What did not run does not.
fn started(world: &World<'_>, done: &Done) -> Result<()> {
    let Done::Started(id) = done else {
        return Ok(());
    };
    match world.engine.find(id) {
        Ok(instance) => world.engine.stop(&instance, world.stop_timeout, None),
        // One that was made, too.
        Err(error) if error.kind == Kind::NoSuch => Ok(()),
        Err(error) => Err(error),
    }
}

fn surroundings(world: &World<'_>, done: &Done) -> Result<()> {
    match done {
        Done::Network(name) => told(world, What::RemoveNetwork(name.clone()), || {
            resources::remove_network(world, name)
        }),
        Done::NetworkGone(network) => {
            let networks = Networks::open(world.engine.paths().root())?;
            networks.create(&spec(network))?;
            Ok(())
        }
        Done::Volume(name) => told(world, What::RemoveVolume(name.clone()), || {
            resources::remove_volume(world, name)
        }),
        Done::Content(content, before) => contents::put_back(world, content, before.as_deref()),
        _ => Ok(()),
    }
}

/// A network as it was; addresses that were chosen for it may be others now.
fn spec(network: &Network) -> NetworkSpec {
    let fixed = || network.subnets.iter().filter(|subnet| !subnet.automatic);
    let mtu = network.mtu.map(|mtu| ("mtu".to_owned(), mtu.to_string()));
    let isolate = ("isolate".to_owned(), network.isolate.to_string());
    NetworkSpec {
        name: network.name.clone(),
        driver: Some(network.driver.clone()),
        subnets: fixed().map(|subnet| subnet.subnet.to_string()).collect(),
        gateways: fixed().map(|subnet| subnet.gateway.to_string()).collect(),
        ip_ranges: fixed()
            .filter_map(|subnet| subnet.ip_range)
            .map(|range| range.to_string())
            .collect(),
        ipv6: network.ipv6,
        internal: network.internal,
        labels: network.labels.clone(),
        options: mtu.into_iter().chain([isolate]).collect(),
    }
}

/// What was put aside has its name again.
fn names(world: &World<'_>, done: &Done) -> Result<()> {
    let Done::Aside { id, name, .. } = done else {
        return Ok(());
    };
    let instance = world.engine.find(id)?;
    match instance.record.name == *name {
        true => Ok(()),
        false => world.engine.rename(&instance, name),
    }
}

/// What ran runs.
fn stopped(world: &World<'_>, done: &Done) -> Result<()> {
    let Done::Stopped(id) = done else {
        return Ok(());
    };
    let instance = world.engine.find(id)?;
    let name = instance.record.name.clone();
    let service = service(&instance);
    let what = What::Start {
        service: service.clone(),
        name: name.clone(),
    };
    told(world, what, || instances::start(world, &service, &name))
}

fn service(instance: &Instance) -> String {
    let labels = &instance.record.workload.labels;
    labels.get(label::SERVICE).cloned().unwrap_or_default()
}

fn remove(world: &World<'_>, id: &str, volumes: bool) -> Result<()> {
    let instance = match world.engine.find(id) {
        Ok(instance) => instance,
        Err(error) if error.kind == Kind::NoSuch => return Ok(()),
        Err(error) => return Err(error),
    };
    let what = What::Remove {
        name: instance.record.name.clone(),
        id: id.to_owned(),
        volumes,
    };
    told(world, what, || {
        world.engine.remove(&instance, true)?;
        match volumes {
            true => world.engine.remove_anonymous_volumes(&instance),
            false => Ok(()),
        }
    })
}

fn told(world: &World<'_>, what: What, act: impl FnOnce() -> Result<()>) -> Result<()> {
    world.teller.step(&what, Stage::Working);
    let result = act();
    let stage = match result {
        Ok(()) => Stage::Done,
        Err(_) => Stage::Failed,
    };
    world.teller.step(&what, stage);
    result
}

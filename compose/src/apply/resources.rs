//! Networks and volumes of a project.

use isola_net::{NetworkSpec, Networks};
use isola_runtime::{Error, Kind, Result};
use isola_volume::{VolumeSpec, Volumes};

use super::World;
use super::journal::Done;
use crate::label;
use crate::project::Labels;

/// The labels of something that belongs to the project.
fn labels(world: &World<'_>, own: &Labels, kind: (&str, &str), hash: String) -> Labels {
    let mut labels = own.clone();
    labels.insert(label::PROJECT.to_owned(), world.name.to_owned());
    labels.insert(kind.0.to_owned(), kind.1.to_owned());
    labels.insert(label::HASH.to_owned(), hash);
    labels.insert(
        label::VERSION.to_owned(),
        env!("CARGO_PKG_VERSION").to_owned(),
    );
    labels
}

fn missing(what: &str, key: &str) -> Error {
    Error::new(Kind::NoSuch, format!("the {what} {key} is not declared"))
}

pub(super) fn create_network(world: &World<'_>, key: &str) -> Result<()> {
    let loaded = world.loaded()?;
    let network = loaded
        .project
        .networks
        .get(key)
        .ok_or_else(|| missing("network", key))?;
    let pools = &network.ipam.config;
    let all = |of: fn(&crate::project::Pool) -> &Option<String>| {
        pools
            .iter()
            .filter_map(|pool| of(pool).clone())
            .collect::<Vec<_>>()
    };
    let hash = loaded.model.resource_hash("networks", key);
    let spec = NetworkSpec {
        name: network.name.clone(),
        driver: network.driver.clone().filter(|driver| driver != "default"),
        subnets: all(|pool| &pool.subnet),
        gateways: all(|pool| &pool.gateway),
        ip_ranges: all(|pool| &pool.ip_range),
        ipv6: network.enable_ipv6.unwrap_or(false),
        internal: network.internal,
        labels: labels(world, &network.labels, (label::NETWORK, key), hash),
        options: options(&network.driver_opts),
    };
    Networks::open(world.engine.paths().root())?.create(&spec)?;
    world.note(Done::Network(spec.name));
    Ok(())
}

/// Docker's name for the size of packets.
fn options(given: &Labels) -> Labels {
    let name = |key: &String| match key.as_str() {
        "com.docker.network.driver.mtu" => "mtu".to_owned(),
        _ => key.clone(),
    };
    given
        .iter()
        .map(|(key, value)| (name(key), value.clone()))
        .collect()
}

pub(super) fn remove_network(world: &World<'_>, name: &str) -> Result<()> {
    let engine = world.engine;
    let networks = Networks::open(engine.paths().root())?;
    let network = match networks.find(name) {
        Ok(network) => network,
        Err(error) if error.kind == isola_net::Kind::NoSuch => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Of the project's own instances those that are left come back.
    let others = engine.users_of_network(&network)?;
    let mut others = others.iter().filter(|it| {
        it.record
            .workload
            .labels
            .get(label::PROJECT)
            .is_none_or(|of| of != world.name)
    });
    let other = others.next().map(|it| it.record.name.clone());
    let alive = |id: &str| engine.find(id).is_ok_and(|it| it.status.state.is_live());
    networks.remove(&network, &|_| other.clone(), &alive)?;
    world.note(Done::NetworkGone(Box::new(network)));
    Ok(())
}

pub(super) fn create_volume(world: &World<'_>, key: &str) -> Result<()> {
    let loaded = world.loaded()?;
    let volume = loaded
        .project
        .volumes
        .get(key)
        .ok_or_else(|| missing("volume", key))?;
    let hash = loaded.model.resource_hash("volumes", key);
    let spec = VolumeSpec {
        name: Some(volume.name.clone()),
        driver: volume
            .driver
            .clone()
            .filter(|driver| driver != "default")
            .unwrap_or_default(),
        labels: labels(world, &volume.labels, (label::VOLUME, key), hash),
        options: volume.driver_opts.clone(),
        ..VolumeSpec::default()
    };
    Volumes::open(world.engine.paths().root())?.create(&spec)?;
    world.note(Done::Volume(volume.name.clone()));
    Ok(())
}

pub(super) fn remove_volume(world: &World<'_>, name: &str) -> Result<()> {
    let volumes = Volumes::open(world.engine.paths().root())?;
    let users = |name: &str| world.engine.users_of_volume(name).unwrap_or_default();
    match volumes.remove(name, users) {
        Err(error) if error.kind == isola_volume::Kind::NoSuch => Ok(()),
        other => Ok(other?),
    }
}

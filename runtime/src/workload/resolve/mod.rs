//! Image and options to workload. Each file of this folder decides one part;
//! what the wall can't do is refused by its table, and nothing is made.

mod addresses;
mod block;
mod command;
mod cpu;
mod devices;
mod dns;
mod env;
mod fields;
mod health;
mod identity;
mod limits;
mod lists;
mod mount_long;
mod mounts;
mod namespaces;
mod network;
mod policy;
mod ports;
mod privileges;
mod userns;
mod volumes;

use super::host::HostFacts;
use super::image::ImageFacts;
use super::model::{Network, Workload};
use super::options::Options;
use super::walls::{Feature, WallCapabilities};
use crate::error::{Error, Kind, Result};

pub(super) use env::overlay as overlay_env;
pub(super) use env::user_entries;
pub(super) use identity::check_user;
pub(super) use mounts::target_of;
pub use network::{LinkFlags, attachment};
pub use volumes::{merge_volumes_from, parse_volumes_from};

/// All that resolution looks at.
#[derive(Clone, Copy)]
struct Context<'a> {
    options: &'a Options,
    image: &'a ImageFacts,
    wall: &'a WallCapabilities,
    host: &'a HostFacts<'a>,
}

/// What `options` make of `image` behind `wall` on `host`, for the instance with
/// the given id (64 hexadecimal digits; the host name comes from it).
///
/// # Errors
/// The first option that makes no sense ([`Kind::Invalid`]), that contradicts
/// another ([`Kind::Conflict`]) or that the wall can't carry out
/// ([`Kind::Unsupported`]). Nothing was made then.
pub fn resolve(
    options: &Options,
    image: &ImageFacts,
    wall: &WallCapabilities,
    host: &HostFacts<'_>,
    id: &str,
) -> Result<Workload> {
    let wall = &wall.clone().on(host);
    let cx = Context {
        options,
        image,
        wall,
        host,
    };
    policy::check_platform(&cx)?;
    let args = command::args(&cx)?;
    let network = network::network(&cx)?;
    let namespaces = namespaces::namespaces(&cx)?;
    let ports = ports::ports(&cx, &network)?;
    let identity = identity::identity(&cx, &network, &namespaces, id)?;
    if options.init {
        wall.require(Feature::Init, "--init")?;
    }
    if options.tty {
        wall.require(Feature::Terminal, "-t")?;
    }
    if options.read_only {
        wall.require(Feature::ReadOnly, "--read-only")?;
    }
    Ok(Workload {
        isolation: wall.isolation,
        image: image.name.clone(),
        image_id: image.id.clone(),
        env: env::environment(&cx, &identity.hostname)?,
        args,
        cwd: command::cwd(&cx)?,
        user: identity.user,
        extra_groups: identity.groups,
        hostname: identity.hostname,
        domainname: identity.domainname,
        extra_hosts: dns::extra_hosts(&cx, &network)?,
        tty: options.tty,
        stdin_open: options.interactive,
        init: options.init,
        stop_signal: policy::stop_signal(&cx)?,
        stop_timeout: policy::stop_timeout(&cx)?,
        read_only: options.read_only,
        binds: mounts::binds(&cx)?,
        volumes_from: options.volumes_from.clone(),
        mounts: mounts::mounts(&cx)?,
        devices: devices::devices(&cx)?,
        device_rules: devices::rules(&cx)?,
        sysctls: lists::sysctls(&cx, &network, &namespaces)?,
        security: privileges::security(&cx, &network)?,
        resources: limits::resources(&cx)?,
        disk: limits::disk(&cx)?,
        network,
        namespaces,
        dns: dns::dns(&cx)?,
        ports: ports.published,
        exposed_ports: ports.exposed,
        restart: policy::restart(&cx)?,
        auto_remove: options.rm,
        labels: env::labels(&cx)?,
        annotations: env::annotations(&cx)?,
        log: policy::log(&cx)?,
        health: health::health(&cx)?,
    })
}

/// The value of `flag` is wrong, and why.
fn invalid(flag: &str, value: &str, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Invalid, format!("{flag} {value:?}: {why}"))
}

/// Two options can't both hold.
fn conflict(message: impl Into<String>) -> Error {
    Error::new(Kind::Conflict, message)
}

/// How `--network` names a network stack that is not the workload's own.
fn shared_network(network: &Network) -> Option<String> {
    match network {
        Network::None | Network::Bridged(_) => None,
        Network::Host => Some("host".to_owned()),
        Network::Instance(name) => Some(format!("container:{name}")),
    }
}

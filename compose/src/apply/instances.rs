//! Making, starting, stopping and removing instances of services.

use isola_runtime::engine::{Create, Instance, Launch};
use isola_runtime::state::Record;
use isola_runtime::workload::Options;
use isola_runtime::{Error, Kind, Result};

use super::journal::Done;
use super::{World, contents, hooks};
use crate::label;
use crate::options::{Wanted, wanted};

/// An instance to be made, as it differs from those of its service.
#[derive(Clone, Debug)]
pub struct Made<'a> {
    /// Its name.
    pub name: &'a str,
    /// The one whose unnamed volumes it takes over.
    pub inherit: Option<&'a Record>,
}

/// Makes an instance.
///
/// # Errors
/// The image is not there, or the engine refuses it.
pub fn create(world: &World<'_>, mut wanted: Wanted, made: &Made<'_>) -> Result<Instance> {
    let image = world
        .images
        .get(&wanted.image)
        .ok_or_else(|| Error::new(Kind::NoSuch, format!("no such image: {}", wanted.image)))?;
    for folder in &wanted.folders {
        if std::fs::symlink_metadata(folder).is_err() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::io("make the folder", folder, error))?;
        }
    }
    let options = &mut wanted.options;
    if wanted.no_command && options.entrypoint.is_none() {
        let run = image.config.config().as_ref();
        let entrypoint = run.and_then(|run| run.entrypoint().clone());
        options.entrypoint = Some(entrypoint.unwrap_or_default());
    }
    options.label.push(format!("{}={}", label::IMAGE, image.id));
    world.config.fill(options, &Default::default());
    let isolation = match wanted.walls.is_empty() {
        true => world.default_walls,
        false => &wanted.walls,
    };
    let instance = world.engine.create(&Create {
        image,
        image_name: &wanted.image,
        options,
        config: world.config,
        isolation,
        name: Some(made.name),
        inherit: made.inherit,
    })?;
    world.note(Done::Instance(instance.record.id.clone()));
    Ok(instance)
}

/// Makes an instance, in the place of another one if one is named: the new one is
/// there before the old one goes.
pub(super) fn recreate(
    world: &World<'_>,
    service: &str,
    number: u32,
    name: &str,
    replaces: Option<&str>,
) -> Result<()> {
    let loaded = world.loaded()?;
    contents::write(world, service)?;
    let wanted = wanted(
        loaded.model,
        loaded.project,
        service,
        number,
        &world.store(),
    )?;
    let old = replaces.map(|id| world.engine.find(id)).transpose()?;
    let Some(old) = old else {
        create(
            world,
            wanted,
            &Made {
                name,
                inherit: None,
            },
        )?;
        return Ok(());
    };
    let short = old.record.short_id().to_owned();
    let mut other: String = format!("{short}_{name}");
    other.truncate(128);
    // What a command that was killed left under this name.
    if let Ok(left) = world.engine.find(&other)
        && left.record.name == other
    {
        world.engine.remove(&left, true)?;
    }
    let made = Made {
        name: &other,
        inherit: (!world.renew_volumes).then_some(&old.record),
    };
    let new = create(world, wanted, &made)?;
    let replaced = stop(world, service, &old)
        .and_then(|()| remove_or_put_aside(world, &old, world.renew_volumes))
        .and_then(|()| world.engine.rename(&new, name));
    if world.journal.is_none() && replaced.is_err() && world.engine.find(&old.record.id).is_ok() {
        world.engine.remove(&new, true)?;
    }
    replaced
}

/// Starts an instance and runs what comes after its start.
pub(super) fn start(world: &World<'_>, service: &str, name: &str) -> Result<()> {
    let instance = world.engine.find(name)?;
    if instance.status.state.is_live() {
        return Ok(());
    }
    world.note(Done::Started(instance.record.id.clone()));
    start_or_follow(world, &instance)?;
    let service = world
        .loaded
        .and_then(|loaded| loaded.project.services.get(service));
    match service.map(|service| service.post_start.as_slice()) {
        None | Some([]) => Ok(()),
        Some(list) => hooks::post_start(world.engine, &world.engine.find(name)?, list),
    }
}

/// Starts an instance, unless it is being started already: a command that was killed
/// leaves supervisors at that.
fn start_or_follow(world: &World<'_>, instance: &Instance) -> Result<()> {
    loop {
        let error = match world.engine.start(instance, Launch::default()) {
            Ok((control, _)) => {
                for notice in control.notices() {
                    world.teller.say(&format!("notice: {notice}"));
                }
                return Ok(());
            }
            Err(error) => error,
        };
        let now = world.engine.find(&instance.record.id)?;
        if error.kind == Kind::Conflict && now.status.state.is_live() {
            return Ok(());
        }
        // The engine has waited a while for it.
        if error.kind != Kind::Conflict || now.status.supervisor_pid.is_none() {
            return Err(error);
        }
    }
}

pub(super) fn stop_step(world: &World<'_>, service: &str, id: &str) -> Result<()> {
    match world.engine.find(id) {
        Ok(instance) => stop(world, service, &instance),
        Err(error) if error.kind == Kind::NoSuch => Ok(()),
        Err(error) => Err(error),
    }
}

/// Runs what comes before its end, and stops an instance.
///
/// # Errors
/// Its supervisor refused or died.
pub fn stop(world: &World<'_>, service: &str, instance: &Instance) -> Result<()> {
    if !instance.status.state.is_live() {
        return Ok(());
    }
    world.note(Done::Stopped(instance.record.id.clone()));
    hooks::pre_stop(world, service, instance);
    world.engine.stop(instance, world.stop_timeout, None)
}

pub(super) fn remove(world: &World<'_>, id: &str, volumes: bool) -> Result<()> {
    let instance = match world.engine.find(id) {
        Ok(instance) => instance,
        Err(error) if error.kind == Kind::NoSuch => return Ok(()),
        Err(error) => return Err(error),
    };
    remove_or_put_aside(world, &instance, volumes)
}

/// Where all may be taken back, an instance that is to go only gets another name.
fn remove_or_put_aside(world: &World<'_>, instance: &Instance, volumes: bool) -> Result<()> {
    if world.journal.is_some() {
        let name = &instance.record.name;
        let mut aside = name.clone();
        aside.truncate(110);
        let aside = format!("{aside}.{}", instance.record.short_id());
        world.engine.rename(instance, &aside)?;
        world.note(Done::Aside {
            id: instance.record.id.clone(),
            name: name.clone(),
            volumes,
        });
        return Ok(());
    }
    // Its record tells whoever comes after a killed command which volumes are its own, so
    // they go first. One that a supervisor still has goes after that one.
    if volumes {
        let _ = world.engine.remove_anonymous_volumes(instance);
    }
    world.engine.remove(instance, true)?;
    match volumes {
        true => world.engine.remove_anonymous_volumes(instance),
        false => Ok(()),
    }
}

/// Runs the hooks that come before a service starts: each in an instance of its own
/// with the service's volumes and networks, one after the other.
pub(super) fn pre_start(world: &World<'_>, service: &str) -> Result<()> {
    let loaded = world.loaded()?;
    let Some(described) = loaded.project.services.get(service) else {
        return Ok(());
    };
    for hook in &described.pre_start {
        let mut wanted = wanted(loaded.model, loaded.project, service, 1, &world.store())?;
        let options = &mut wanted.options;
        options.entrypoint = Some(Vec::new());
        options.args = hook.command.clone().unwrap_or_default();
        options.user = hook.user.clone().or_else(|| options.user.clone());
        options.workdir = hook.working_dir.clone().or_else(|| options.workdir.clone());
        options.privileged |= hook.privileged;
        without_health(options);
        alone(&mut wanted);
        let options = &mut wanted.options;
        for (name, value) in &hook.environment {
            options.env.push(match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
        }
        let id = isola_runtime::state::new_id()?;
        let name = format!("{}-{service}-pre-{}", world.name, &id[..12]);
        let made = Made {
            name: &name,
            inherit: None,
        };
        let instance = create(world, wanted, &made)?;
        let ended = world
            .engine
            .start(&instance, Launch::default())
            .and_then(|_| world.engine.wait(&world.engine.find(&instance.record.id)?));
        match ended {
            Ok(0) => world.engine.remove(&instance, true)?,
            // It stays for a look at its log; `down` takes it away.
            Ok(code) => {
                let message = format!("services.{service}: the pre_start hook ended with {code}");
                return Err(Error::new(Kind::Conflict, message)
                    .hint(format!("`isola logs {name}` shows what it has written")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A short job needs no check.
fn without_health(options: &mut Options) {
    options.health_cmd = None;
    options.health_interval = None;
    options.health_timeout = None;
    options.health_retries = None;
    options.health_start_period = None;
    options.health_start_interval = None;
    options.no_healthcheck = true;
}

/// Makes a one-off instance of a service: [`alone`] or the like was done to `wanted`.
///
/// # Errors
/// As [`create`].
pub fn one_off(world: &World<'_>, service: &str, wanted: Wanted, name: &str) -> Result<Instance> {
    contents::write(world, service)?;
    create(
        world,
        wanted,
        &Made {
            name,
            inherit: None,
        },
    )
}

/// A one-off instance: it has no name that others ask for, publishes nothing, and
/// runs once.
pub fn alone(wanted: &mut Wanted) {
    let options = &mut wanted.options;
    options.publish.clear();
    options.restart = None;
    for network in &mut options.network {
        let kept: Vec<&str> = network
            .split(',')
            .filter(|field| field.starts_with("name=") || !field.contains('='))
            .collect();
        *network = kept.join(",");
    }
    options.mac_address = None;
    let key = format!("{}=", label::ONE_OFF);
    options.label.retain(|text| !text.starts_with(&key));
    options.label.push(format!("{key}True"));
}

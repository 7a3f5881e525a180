//! Waiting until a service is as another one needs it.

use std::time::Instant;

use isola_init::stream::{Peer, PollSet};
use isola_proto::{Event, Kind as FrameKind};
use isola_runtime::control::{Command, Control, decode};
use isola_runtime::engine::{Engine, Instance};
use isola_runtime::state::{HealthState, State};
use isola_runtime::{Error, Kind, Result};
use std::os::fd::AsFd;

use super::World;
use crate::plan::{Present, Until};

/// Waits for all instances of a service.
pub(super) fn wait(world: &World<'_>, service: &str, until: Until) -> Result<()> {
    let present = Present::read(world.engine, world.name)?;
    let ids = present.of(service).map(|here| here.id.clone());
    let ids: Vec<String> = ids.filter(|id| !world.is_aside(id)).collect();
    for id in ids {
        let instance = world.engine.find(&id)?;
        match until {
            Until::Healthy => healthy(world, service, &instance),
            Until::Completed => completed(world, service, &instance),
            Until::Up if instance.record.workload.health.is_some() => {
                healthy(world, service, &instance)
            }
            Until::Up => up(service, &instance),
        }?;
    }
    Ok(())
}

fn failed(service: &str, instance: &Instance, why: &str) -> Error {
    let name = &instance.record.name;
    Error::new(
        Kind::Conflict,
        format!("services.{service}: instance {name} {why}"),
    )
    .hint(format!("`isola logs {name}` shows what it has written"))
}

fn ended(service: &str, instance: &Instance) -> Error {
    let code = instance.status.exit_code.unwrap_or(0);
    failed(service, instance, &format!("has ended with {code}"))
}

fn up(service: &str, instance: &Instance) -> Result<()> {
    match instance.status.state.is_live() {
        true => Ok(()),
        false => Err(ended(service, instance)),
    }
}

fn healthy(world: &World<'_>, service: &str, instance: &Instance) -> Result<()> {
    let health = instance.status.health.as_ref().map(|health| health.state);
    if instance.status.state == State::Running && health == Some(HealthState::Healthy) {
        return Ok(());
    }
    if instance.record.workload.health.is_none() {
        let error = failed(
            service,
            instance,
            "has no health check, and another service waits for its health",
        );
        return Err(error.hint("give it a `healthcheck`, or depend on service_started"));
    }
    match ask(world, service, instance, |channel| Command::Healthy {
        channel,
    }) {
        Ok(_) => Ok(()),
        Err(error) => Err(match at_rest(world.engine, instance) {
            Some(now) => ended(service, &now),
            None => Error {
                message: format!("services.{service}: {}", error.message),
                ..error
            },
        }),
    }
}

/// The instance after its end, if its supervisor does not answer any more.
fn at_rest(engine: &Engine, instance: &Instance) -> Option<Instance> {
    let now = engine.find(&instance.record.id).ok()?;
    if now.status.state.is_live() {
        if engine.connect(&now).is_ok() {
            return None;
        }
        engine.wait(&now).ok()?;
    }
    engine
        .find(&now.record.id)
        .ok()
        .filter(|now| !now.status.state.is_live())
}

fn completed(world: &World<'_>, service: &str, instance: &Instance) -> Result<()> {
    let mut code = instance.status.exit_code;
    if instance.status.state == State::Created && code.is_none() {
        return Err(failed(
            service,
            instance,
            "was not started, and another service waits for its end",
        ));
    }
    if instance.status.state.is_live() {
        code = match ask(world, service, instance, |channel| Command::Wait {
            channel,
        }) {
            Ok(Event::Exited { status, .. }) => Some(status.code()),
            Err(error) if world.cancel.is_over() || world.is_late() => return Err(error),
            // It is coming to rest: its record tells when it has.
            _ => Some(
                world
                    .engine
                    .wait(&world.engine.find(&instance.record.id)?)?,
            ),
        };
    }
    match code {
        Some(0) => Ok(()),
        code => {
            let code = code.unwrap_or(0);
            Err(failed(
                service,
                instance,
                &format!("did not complete successfully: it ended with {code}"),
            ))
        }
    }
}

/// Asks a supervisor and waits for its answer, for the end of all waiting, or for
/// the deadline.
fn ask(
    world: &World<'_>,
    service: &str,
    instance: &Instance,
    command: impl FnOnce(u32) -> Command,
) -> Result<Event> {
    let mut control = world.engine.connect(instance)?;
    let channel = control.channel();
    control.send(&command(channel));
    let mut set = PollSet::default();
    loop {
        if let Some(answer) = answer(&mut control)? {
            return Ok(answer);
        }
        if control.conn().closed().is_some() {
            return Err(failed(service, instance, "has ended"));
        }
        if world.cancel.is_over() {
            return Err(failed(service, instance, "was waited for when it was over"));
        }
        let left = world
            .deadline
            .map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(failed(
                service,
                instance,
                "was not ready in the time that --wait-timeout gives",
            ));
        }
        set.clear();
        control.conn().register(&mut set);
        set.add(world.cancel.as_fd(), true, false);
        set.wait(left)
            .and_then(|()| control.conn().dispatch(&set))
            .map_err(|error| Error::system("talk to the supervisor", error))?;
    }
}

fn answer(control: &mut Control) -> Result<Option<Event>> {
    while let Some(frame) = control.conn().next_frame() {
        if frame.kind == FrameKind::Event {
            let event = frame.parse::<Event>();
            return match event.map_err(|error| Error::new(Kind::System, error.to_string()))? {
                Event::Failed { failure, .. } => Err(decode(failure)),
                event => Ok(Some(event)),
            };
        }
    }
    Ok(None)
}

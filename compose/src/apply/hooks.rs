//! Commands that run within an instance after it started and before it is stopped.

use isola_proto::spec::TermSize;
use isola_proto::{Event, Kind as FrameKind};
use isola_runtime::control::{Command, decode};
use isola_runtime::engine::{Engine, Instance};
use isola_runtime::workload::{ExecOptions, HostFacts, exec_spec};
use isola_runtime::{Error, Kind, Result};

use super::World;
use crate::project::Hook;

/// Bytes of a hook's output that an error shows.
const SHOWN: usize = 2048;

/// Runs hooks one after the other; the first that fails ends it.
pub(super) fn run(engine: &Engine, instance: &Instance, when: &str, hooks: &[Hook]) -> Result<()> {
    hooks
        .iter()
        .try_for_each(|hook| one(engine, instance, when, hook))
}

/// Runs the hooks that come after an instance was started.
///
/// # Errors
/// The first that fails.
pub fn post_start(engine: &Engine, instance: &Instance, hooks: &[Hook]) -> Result<()> {
    run(engine, instance, "post_start", hooks)
}

/// Runs commands in an instance, one after the other, for `sync+exec`.
///
/// # Errors
/// The first that fails.
pub fn exec(engine: &Engine, instance: &Instance, hooks: &[Hook]) -> Result<()> {
    run(engine, instance, "sync+exec", hooks)
}

/// Runs the hooks that come before an instance is stopped. One that fails is told
/// and does not keep it running.
pub fn pre_stop(world: &World<'_>, service: &str, instance: &Instance) {
    let service = world
        .loaded
        .and_then(|loaded| loaded.project.services.get(service));
    let hooks = service
        .map(|service| service.pre_stop.as_slice())
        .unwrap_or_default();
    if let Err(error) = run(world.engine, instance, "pre_stop", hooks) {
        world.teller.say(&format!("warning: {}", error.message));
    }
}

fn one(engine: &Engine, instance: &Instance, when: &str, hook: &Hook) -> Result<()> {
    let entry = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    };
    let options = ExecOptions {
        args: hook.command.clone().unwrap_or_default(),
        user: hook.user.clone(),
        workdir: hook.working_dir.clone(),
        env: hook.environment.iter().map(entry).collect(),
        privileged: hook.privileged,
        ..ExecOptions::default()
    };
    let process = exec_spec(
        &instance.record.workload,
        &options,
        &HostFacts::read()?,
        TermSize::default(),
    )?;
    let mut control = engine.connect(instance)?;
    let channel = control.channel();
    control.send(&Command::Exec {
        channel,
        process: Box::new(process),
        detach: false,
    });
    let name = &instance.record.name;
    let failed = |why: String| Error::new(Kind::System, format!("{when} hook of {name}: {why}"));
    let mut output = Vec::new();
    loop {
        let frame = control.receive()?;
        match frame.kind {
            FrameKind::Stdout | FrameKind::Stderr => {
                let room = SHOWN.saturating_sub(output.len());
                output.extend(frame.payload.iter().take(room));
                let granted = u32::try_from(frame.payload.len()).unwrap_or(0);
                let credit =
                    isola_proto::Frame::credit(FrameKind::CreditOutput, frame.channel, granted);
                isola_init::stream::Peer::send(control.conn(), credit);
            }
            FrameKind::Event => match frame.parse::<Event>() {
                Ok(Event::Exited { status, .. }) if status.code() == 0 => return Ok(()),
                Ok(Event::Exited { status, .. }) => {
                    let text = String::from_utf8_lossy(&output);
                    let said = text.trim();
                    let why = match said.is_empty() {
                        true => format!("ended with {}", status.code()),
                        false => format!("ended with {}: {said}", status.code()),
                    };
                    return Err(failed(why));
                }
                Ok(Event::Failed { failure, .. }) => return Err(failed(decode(failure).message)),
                _ => {}
            },
            _ => {}
        }
    }
}

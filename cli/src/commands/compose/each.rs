//! Verbs that do one thing with each instance: `kill`, `pause`, `unpause`.

use isola_compose::label;
use isola_runtime::engine::Instance;

use super::ProjectArgs;
use super::scope::Scope;
use crate::commands::stop::signal;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};

/// Send a signal to the first process of each instance
#[derive(Debug, clap::Args)]
#[command(after_help = KILL_EXAMPLES)]
pub(super) struct KillArgs {
    /// Name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Those of services that the file does not have, too, and remove them
    #[arg(long)]
    remove_orphans: bool,
    /// Services; all, if none is given
    services: Vec<String>,
}

const KILL_EXAMPLES: &str = "Examples:
  isola compose kill
  isola compose kill --signal HUP web
  isola compose kill -s 15 worker";

/// Freeze all processes of services
#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE_EXAMPLES)]
pub(super) struct PauseArgs {
    /// Services; all, if none is given
    services: Vec<String>,
}

const PAUSE_EXAMPLES: &str = "Examples:
  isola compose pause
  isola compose pause worker
  isola compose unpause worker";

/// Let frozen services go on
#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE_EXAMPLES)]
pub(super) struct UnpauseArgs {
    /// Services; all, if none is given
    services: Vec<String>,
}

pub(super) fn kill(args: &KillArgs, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let number = signal(&args.signal)?;
    let scope = Scope::of_any(project, &args.services, context)?;
    let mut all = scope.engines(context)?;
    let known = scope.known();
    let is_orphan = |instance: &Instance| {
        let service = instance.record.workload.labels.get(label::SERVICE);
        !known.is_empty() && service.is_none_or(|service| !known.contains(service))
    };
    all.retain(|instance| {
        let live = instance.status.state.is_live();
        match is_orphan(instance) {
            // One that was named is meant.
            true => args.remove_orphans || live && !args.services.is_empty(),
            false => live,
        }
    });
    if all.is_empty() {
        let message = format!("no instance of the project {} runs", scope.name);
        return Err(
            Failure::new(Code::NoSuch, message).hint("`isola compose ps -a` lists what is there")
        );
    }
    let names: Vec<String> = all
        .iter()
        .map(|instance| instance.record.id.clone())
        .collect();
    context.each(&names, |id| {
        let engine = context.engine()?;
        let instance = engine.find(id)?;
        let tell = |what: &str| {
            let name = &instance.record.name;
            scope.screen.say(&format!("Instance {name}  {what}"));
        };
        if instance.status.state.is_live() {
            engine.kill(&instance, number)?;
            tell("Killed");
        }
        if args.remove_orphans && is_orphan(&instance) {
            engine.remove(&instance, true)?;
            tell("Removed");
        }
        Ok(())
    })
}

pub(super) fn pause(args: &PauseArgs, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    freeze(&args.services, true, project, context)
}

pub(super) fn unpause(
    args: &UnpauseArgs,
    project: &ProjectArgs,
    context: &Context,
) -> Result<Exit> {
    freeze(&args.services, false, project, context)
}

fn freeze(
    services: &[String],
    freeze: bool,
    project: &ProjectArgs,
    context: &Context,
) -> Result<Exit> {
    use isola_runtime::state::State;
    let scope = Scope::of_any(project, services, context)?;
    let wanted = match freeze {
        true => State::Running,
        false => State::Paused,
    };
    let all = scope.engines(context)?;
    let names = all
        .iter()
        .filter(|instance| instance.status.state == wanted);
    let names: Vec<String> = names.map(|instance| instance.record.id.clone()).collect();
    context.each(&names, |id| {
        let engine = context.engine()?;
        let instance = engine.find(id)?;
        match freeze {
            true => engine.pause(&instance)?,
            false => engine.unpause(&instance)?,
        }
        let word = if freeze { "Paused" } else { "Unpaused" };
        scope
            .screen
            .say(&format!("Instance {}  {word}", instance.record.name));
        Ok(())
    })
}

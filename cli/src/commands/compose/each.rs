//! Verbs that do one thing with each instance: `kill`, `pause`, `unpause`.

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
    all.retain(|instance| instance.status.state.is_live());
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
        engine.kill(&instance, number)?;
        scope
            .screen
            .say(&format!("Instance {}  Killed", instance.record.name));
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

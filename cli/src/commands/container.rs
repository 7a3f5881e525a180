//! `isola container`: the verbs for instances under one roof, as Docker has it.

use clap::Subcommand;

use super::{
    attach, cp, create, exec, inspect, kill, logs, pause, port, ps, rename, restart, rm,
    run as run_verb, start, stats, stop, top, unpause, wait,
};
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;

/// Manage instances: Docker's other names for the verbs above
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run_verb::Args),
    Create(create::Args),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Kill(kill::Args),
    Pause(pause::Args),
    Unpause(unpause::Args),
    Wait(wait::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Rename(rename::Args),
    Exec(exec::Args),
    Attach(attach::Args),
    Cp(cp::Args),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    Logs(logs::Args),
    Inspect(inspect::Args),
    Port(port::Args),
    Top(top::Args),
    Stats(stats::Args),
    Prune(PruneArgs),
}

/// Remove all instances that do not run
#[derive(Debug, clap::Args)]
struct PruneArgs {}

const EXAMPLES: &str = "Examples:
  isola container ls -a
  isola container inspect web
  isola container prune";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.verb {
        Verb::Run(args) => run_verb::run(args, context),
        Verb::Create(args) => create::run(args, context),
        Verb::Start(args) => start::run(args, context),
        Verb::Stop(args) => stop::run(args, context),
        Verb::Restart(args) => restart::run(args, context),
        Verb::Kill(args) => kill::run(args, context),
        Verb::Pause(args) => pause::run(args, context),
        Verb::Unpause(args) => unpause::run(args, context),
        Verb::Wait(args) => wait::run(args, context),
        Verb::Rm(args) => rm::run(args, context),
        Verb::Rename(args) => rename::run(args, context),
        Verb::Exec(args) => exec::run(args, context),
        Verb::Attach(args) => attach::run(args, context),
        Verb::Cp(args) => cp::run(args, context),
        Verb::Ls(args) => ps::run(args, context),
        Verb::Logs(args) => logs::run(args, context),
        Verb::Inspect(args) => inspect::run(args, context),
        Verb::Port(args) => port::run(args, context),
        Verb::Top(args) => top::run(args, context),
        Verb::Stats(args) => stats::run(args, context),
        Verb::Prune(PruneArgs {}) => {
            context
                .engine()?
                .prune()?
                .iter()
                .try_for_each(|id| print_line(id))?;
            Ok(Exit::OK)
        }
    }
}

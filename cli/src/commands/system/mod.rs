//! `isola system`: the data root as a whole.

mod check;
mod df;
mod prune;

use clap::Subcommand;

use super::{events, info};
use crate::context::Context;
use crate::error::{Exit, Result};

/// Look at the data root as a whole, check it, and clear it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Args),
    Df(df::Args),
    Events(events::Args),
    Info(info::Args),
    Prune(prune::Args),
}

const EXAMPLES: &str = "Examples:
  isola system df
  isola system check --repair
  isola system prune --all";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.verb {
        Verb::Check(args) => check::run(args, context),
        Verb::Df(args) => df::run(args, context),
        Verb::Events(args) => events::run(args, context),
        Verb::Info(args) => info::run(args, context),
        Verb::Prune(args) => prune::run(args, context),
    }
}

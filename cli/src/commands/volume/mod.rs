//! `isola volume`: the verbs for volumes, as Docker and Podman have them.

mod create;
mod export;
mod import;
mod inspect;
mod ls;
mod prune;
mod rm;

use clap::Subcommand;

use crate::context::Context;
use crate::error::{Exit, Result};

pub(super) use inspect::volume_details;

/// Manage volumes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Prune(prune::Args),
    Export(export::Args),
    Import(import::Args),
}

const EXAMPLES: &str = "Examples:
  isola volume create --opt size=1G data
  isola volume ls --filter dangling=true
  isola volume export -o data.tar data";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.verb {
        Verb::Create(args) => create::run(args, context),
        Verb::Ls(args) => ls::run(args, context),
        Verb::Inspect(args) => inspect::run(args, context),
        Verb::Rm(args) => rm::run(args, context),
        Verb::Prune(args) => prune::run(args, context),
        Verb::Export(args) => export::run(args, context),
        Verb::Import(args) => import::run(args, context),
    }
}

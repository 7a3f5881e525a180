//! `isola compose commit`

use super::ProjectArgs;
use super::scope::Scope;
use crate::commands::commit;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Make an image of what a service's instance has changed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Number of the instance; the first that runs, if none is given
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Who made it
    #[arg(short, long)]
    author: Option<String>,
    /// What it is about
    #[arg(short, long)]
    message: Option<String>,
    /// Instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR...
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Let it stand still meanwhile; containers do unless false is said
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true)]
    pause: Option<bool>,
    /// Service
    service: String,
    /// Name of the image
    name: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose commit web web:patched
  isola compose commit --index 2 -m 'with tools' worker tools
  isola compose commit --pause=false db db:snapshot";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, std::slice::from_ref(&args.service), context)?;
    let instance = scope.one(&args.service, args.index, context)?;
    let commit = commit::Args {
        author: args.author.clone(),
        message: args.message.clone(),
        change: args.change.clone(),
        pause: args.pause,
        instance: instance.record.id,
        name: args.name.clone(),
    };
    commit::run(&commit, context)
}

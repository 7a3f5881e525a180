//! `isola compose stats`

use super::ProjectArgs;
use super::scope::Scope;
use crate::commands::stats;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Show what services use of this host
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Stopped ones too
    #[arg(short, long)]
    all: bool,
    /// Once, instead of again and again
    #[arg(long)]
    no_stream: bool,
    /// As the guest sees it, rather than what the host pays
    #[arg(long)]
    inside: bool,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// table, json, or a template such as '{{.Name}} {{.MemUsage}}'
    #[arg(long)]
    format: Option<String>,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose stats
  isola compose stats --no-stream web
  isola compose stats --format json --no-stream";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, &args.services, context)?;
    let all = scope.instances(context)?.into_iter();
    let instances: Vec<String> = all
        .filter(|here| args.all || here.state.is_live())
        .map(|here| here.id)
        .collect();
    if instances.is_empty() {
        eprintln!("warning: nothing runs of the project {}", scope.name);
        return Ok(Exit::OK);
    }
    let args = stats::Args {
        all: args.all,
        no_stream: args.no_stream,
        inside: args.inside,
        no_trunc: args.no_trunc,
        format: args.format.clone(),
        instances,
    };
    stats::run(&args, context)
}

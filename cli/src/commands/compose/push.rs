//! `isola compose push`

use super::ProjectArgs;
use super::scope::Scope;
use crate::commands::push;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Send the images of services that are built to their registries
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Go on with the others when one can't be sent
    #[arg(long)]
    ignore_push_failures: bool,
    /// Those of services that the named ones depend on, too
    #[arg(long)]
    include_deps: bool,
    /// Print names only, and no progress
    #[arg(short, long)]
    quiet: bool,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose push
  isola compose push --quiet web
  isola compose push --ignore-push-failures web worker";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_file(project, &args.services, context)?;
    let (_, file) = scope.file()?;
    let meant = |name: &String| {
        args.services.is_empty() || args.include_deps || args.services.contains(name)
    };
    let services = file.services.iter().filter(|(name, _)| meant(name));
    let mut names: Vec<String> = services
        .filter(|(_, service)| service.build.is_some())
        .filter_map(|(_, service)| service.image.clone())
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        eprintln!("warning: no service is built and has an image's name to push it by");
        return Ok(Exit::OK);
    }
    let push = push::Args {
        platform: None,
        all_tags: false,
        quiet: args.quiet,
        format: None,
        names,
    };
    let exit = push::run(&push, context)?;
    Ok(if args.ignore_push_failures {
        Exit::OK
    } else {
        exit
    })
}

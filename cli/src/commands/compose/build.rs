//! `isola compose build`

use std::collections::BTreeSet;

use super::ProjectArgs;
use super::building::{self, Extra};
use super::push;
use super::scope::Scope;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::progress::Way;

/// Build the images of services
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Value of an ARG: NAME=VALUE, or NAME to pass the user's own on
    #[arg(long, value_name = "ARG")]
    build_arg: Vec<String>,
    /// Do all steps again
    #[arg(long)]
    no_cache: bool,
    /// Get images that builds begin with anew even if they are here
    #[arg(long)]
    pull: bool,
    /// Send the images to their registries
    #[arg(long)]
    push: bool,
    /// Show nothing of the builds
    #[arg(short, long)]
    quiet: bool,
    /// auto, tty, plain, json or quiet
    #[arg(long, value_name = "KIND", value_parser = Way::WORDS)]
    progress: Option<String>,
    /// Agent of SSH keys: default, or NAME=SOCKET
    #[arg(long, value_name = "AGENT")]
    ssh: Vec<String>,
    /// Those of services that the named ones depend on, too
    #[arg(long)]
    with_dependencies: bool,
    /// Memory of a step; for a guest the size of its RAM
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Services; all that are built, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose build
  isola compose build --no-cache --build-arg VERSION=2 web
  isola compose --as vm build --push web worker";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_file(project, &args.services, context)?;
    let screen = match &args.progress {
        Some(word) => project.screen_with(word)?,
        None => scope.screen,
    };
    let (_, file) = scope.file()?;
    let meant = |name: &String| {
        args.services.is_empty() || args.with_dependencies || args.services.contains(name)
    };
    let services = file.services.iter().filter(|(name, _)| meant(name));
    let built: BTreeSet<&str> = services
        .filter(|(_, service)| service.build.is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    if built.is_empty() {
        eprintln!("warning: no service to build");
        return Ok(Exit::OK);
    }
    let extra = Extra {
        args: &args.build_arg,
        ssh: &args.ssh,
        no_cache: args.no_cache,
        pull: args.pull,
        memory: args.memory.as_deref(),
    };
    let screen = screen.quiet(args.quiet);
    building::build(context, &scope, &built, &extra, screen)?;
    match args.push {
        true => push::send(file, &|name| built.contains(name), args.quiet, context),
        false => Ok(Exit::OK),
    }
}

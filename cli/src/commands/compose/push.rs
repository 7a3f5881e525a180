//! `isola compose push`

use isola_compose::project::Project;

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
    let meant = |name: &str| args.services.is_empty() || args.include_deps || scope.is_named(name);
    let exit = send(file, &meant, args.quiet, context)?;
    Ok(if args.ignore_push_failures {
        Exit::OK
    } else {
        exit
    })
}

/// Sends the images that these services build. What has no name of its own is for
/// this host alone.
pub(super) fn send(
    project: &Project,
    meant: &dyn Fn(&str) -> bool,
    quiet: bool,
    context: &Context,
) -> Result<Exit> {
    let services = project.services.iter().filter(|(name, _)| meant(name));
    let mut names: Vec<String> = services
        .filter_map(|(_, service)| Some((service.image.as_ref()?, service.build.as_ref()?)))
        .filter(|(image, _)| !image.is_empty())
        .flat_map(|(image, build)| std::iter::once(image).chain(&build.tags))
        .cloned()
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
        quiet,
        format: None,
        names,
    };
    push::run(&push, context)
}

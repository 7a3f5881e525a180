//! `isola compose pull`

use std::collections::BTreeSet;

use isola_images::Reference;
use isola_images::registry::Platforms;

use super::ProjectArgs;
use super::scope::Scope;
use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::pulling;

/// Get the images of services from their registries
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Go on with the others when one can't be had
    #[arg(long)]
    ignore_pull_failures: bool,
    /// Leave out services that can be built
    #[arg(long)]
    ignore_buildable: bool,
    /// Those of services that the named ones depend on, too
    #[arg(long)]
    include_deps: bool,
    /// always asks registries, missing only for what is not here
    #[arg(long, value_parser = ["always", "missing"], default_value = "always")]
    policy: String,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose pull
  isola compose pull --quiet web
  isola compose pull --policy missing --ignore-pull-failures";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_file(project, &args.services, context)?;
    let (_, file) = scope.file()?;
    let meant = |name: &String| {
        args.services.is_empty() || args.include_deps || args.services.contains(name)
    };
    let store = context.store()?;
    let mut seen = BTreeSet::new();
    for (name, service) in file.services.iter().filter(|(name, _)| meant(name)) {
        let Some(image) = service.image.as_ref().filter(|image| !image.is_empty()) else {
            // What has no name can't be asked for.
            continue;
        };
        let buildable = service.build.is_some();
        if buildable && args.ignore_buildable || !seen.insert(image.clone()) {
            continue;
        }
        if service.pull_policy.as_deref() == Some("never")
            || args.policy == "missing" && store.resolve(image).is_ok()
        {
            continue;
        }
        let pulled = image
            .parse::<Reference>()
            .map_err(Failure::from)
            .and_then(|reference| {
                pulling::pull(context, &store, &reference, Platforms::Native, args.quiet).map(drop)
            });
        match pulled {
            Ok(()) if !args.quiet => scope.screen.say(&format!("Image {image}  Pulled")),
            Ok(()) => {}
            Err(failure) if args.ignore_pull_failures || buildable => {
                eprintln!(
                    "warning: services.{name}: {}",
                    crate::output::clean(&failure.message)
                );
            }
            Err(failure) => {
                return Err(failure.about(&format!("services.{name}")));
            }
        }
    }
    Ok(Exit::OK)
}

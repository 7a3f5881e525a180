//! `isola image`: the verbs for images under one roof, as Docker has it.

use clap::Subcommand;
use clap_complete::engine::ArgValueCandidates;
use serde_json::Value;

use super::inspect::show;
use super::{history, images, import, load, pull, push, rmi, save, tag};
use crate::complete;
use crate::context::Context;
use crate::demo_image;
use crate::error::{Exit, Result};
use crate::output::print_line;

/// Manage images
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(visible_alias = "list")]
    Ls(images::Args),
    Inspect(InspectArgs),
    Load(load::Args),
    Import(import::Args),
    Save(save::Args),
    Tag(tag::Args),
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    Prune(PruneArgs),
    Pull(pull::Args),
    Push(push::Args),
    History(history::Args),
}

/// Show everything about images, as JSON
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// json, or a template such as '{{.Config.Cmd}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(complete::images))]
    images: Vec<String>,
}

/// Remove images without a name that no instance uses, and what is left over
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Also images with a name, if no instance uses them
    #[arg(short, long)]
    all: bool,
    /// Accepted for Docker's sake: nothing is asked
    #[arg(short, long)]
    force: bool,
}

const EXAMPLES: &str = "Examples:
  isola image ls
  isola image inspect --format '{{json .Config}}' debian
  isola image rm debian:12";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.verb {
        Verb::Ls(args) => images::run(args, context),
        Verb::Inspect(args) => show(context, &args.images, args.format.as_deref(), |image| {
            image_details(context, image)
        }),
        Verb::Load(args) => load::run(args, context),
        Verb::Import(args) => import::run(args, context),
        Verb::Save(args) => save::run(args, context),
        Verb::Tag(args) => tag::run(args, context),
        Verb::Rm(args) => rmi::run(args, context),
        Verb::Prune(args) => prune(args, context),
        Verb::Pull(args) => pull::run(args, context),
        Verb::Push(args) => push::run(args, context),
        Verb::History(args) => history::run(args, context),
    }
}

/// What is known about an image, under Docker's names.
pub(crate) fn image_details(context: &Context, name: &str) -> Result<Value> {
    let store = context.store()?;
    match demo_image::resolve(&store, name) {
        Ok(image) => {
            let details = store.inspect(name)?;
            drop(image);
            Ok(details)
        }
        // An artifact can be looked at.
        Err(failure) => store.inspect(name).map_err(|_| failure),
    }
}

fn prune(args: &PruneArgs, context: &Context) -> Result<Exit> {
    let removed = context.store()?.gc(args.all, &context.image_users())?;
    rmi::tell(&removed)?;
    print_line(&format!(
        "Total reclaimed space: {}",
        crate::output::decimal_size(removed.freed)
    ))?;
    Ok(Exit::OK)
}

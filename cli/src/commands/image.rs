//! `isola image`: the verbs for images under one roof, as Docker has it.

use std::collections::HashSet;

use clap::Subcommand;
use clap_complete::engine::ArgValueCandidates;
use isola_images::ImageId;
use jiff::Timestamp;
use serde_json::Value;

use super::inspect::show;
use super::{history, images, import, load, pull, push, rmi, save, tag};
use crate::complete;
use crate::confirm::confirm;
use crate::context::Context;
use crate::demo_image;
use crate::error::{Exit, Result};
use crate::filter::Filters;
use crate::logfile::parse_moment;
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
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with label, label!, or made before until
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

const PRUNE_FILTERS: &[&str] = &["label", "label!", "until"];

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

/// What `prune` takes away, for who is asked.
pub(crate) fn what_goes(all: bool) -> &'static str {
    match all {
        true => "  - all images that no instance uses",
        false => "  - all images without a name that no instance uses",
    }
}

fn prune(args: &PruneArgs, context: &Context) -> Result<Exit> {
    let filters = Filters::parse(&args.filter, PRUNE_FILTERS)?;
    let until = filters
        .values("until")
        .last()
        .map(|text| parse_moment("the filter until", text, Timestamp::now()))
        .transpose()?;
    let question = format!("This will remove:\n{}", what_goes(args.all));
    confirm(args.force, &question)?;
    let store = context.store()?;
    let users = context.image_users();
    let mut stays = HashSet::new();
    for image in store.list()? {
        let time = image.created.as_ref();
        let time = time.and_then(|text| text.parse::<Timestamp>().ok());
        let young = until.is_some_and(|until| time.is_some_and(|time| time > until));
        let labelled = !args.filter.is_empty()
            && !filters.labels(&images::labels(&image, context).unwrap_or_default());
        if young || labelled {
            stays.insert(image.id);
        }
    }
    let keep = |id: &ImageId| match stays.contains(id) {
        true => vec!["a filter".to_owned()],
        false => users(id),
    };
    let removed = store.gc(args.all, &keep)?;
    rmi::tell(&removed)?;
    print_line(&format!(
        "Total reclaimed space: {}",
        crate::output::decimal_size(removed.freed)
    ))?;
    Ok(Exit::OK)
}

//! `isola image`: the verbs for images under one roof, as Docker has it.

use std::collections::HashSet;

use clap::Subcommand;
use clap_complete::engine::ArgValueCandidates;
use isola_images::ImageId;
use isola_images::files::{Change, Files};
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
use crate::output::{clean, print, print_line};

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
    Diff(DiffArgs),
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

/// Show how the files of an image differ from those of another, or from those below its
/// last layer: A for added, C for changed, D for deleted
#[derive(Debug, clap::Args)]
struct DiffArgs {
    /// lines or json
    #[arg(long, default_value = "lines", value_parser = ["lines", "json"])]
    format: String,
    /// Name or id
    #[arg(add = ArgValueCandidates::new(complete::images))]
    image: String,
    /// The image to compare with
    #[arg(add = ArgValueCandidates::new(complete::images))]
    other: Option<String>,
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
        Verb::Diff(args) => diff(args, context),
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

fn diff(args: &DiffArgs, context: &Context) -> Result<Exit> {
    let store = context.store()?;
    let image = demo_image::resolve(&store, &args.image)?;
    let other = args
        .other
        .as_deref()
        .map(|name| demo_image::resolve(&store, name))
        .transpose()?;
    let below = match &other {
        Some(other) => &other.layers[..],
        None => image
            .layers
            .split_last()
            .map_or(&[][..], |(_, below)| below),
    };
    let changes = Files::open(&image.layers)?.changes_since(&Files::open(below)?)?;
    let mut text = String::new();
    let mut rows = Vec::new();
    for (change, path) in changes {
        let kind = match change {
            Change::Added => "A",
            Change::Changed => "C",
            Change::Deleted => "D",
        };
        let path = format!("/{}", String::from_utf8_lossy(&path));
        match args.format.as_str() {
            "json" => rows.push(serde_json::json!({ "change": kind, "path": path })),
            _ => text.push_str(&format!("{kind} {}\n", clean(&path))),
        }
    }
    match args.format.as_str() {
        "json" => print_line(&Value::Array(rows).to_string())?,
        _ => print(&text)?,
    }
    Ok(Exit::OK)
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

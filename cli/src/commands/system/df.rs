//! `isola system`: the data root as a whole.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clap::Subcommand;
use isola_images::{ImageId, Reference, Usage};
use isola_runtime::engine::Instance;
use serde_json::{Value, json};

use super::{info, rmi};
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{Column, Format, Rows, decimal_size, print, print_line};

/// Look at the data root as a whole, and clear it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Df(DfArgs),
    Info(info::Args),
    Prune(PruneArgs),
}

/// Show what takes how much of the disk
#[derive(Debug, clap::Args)]
struct DfArgs {
    /// Each image and instance
    #[arg(short, long, conflicts_with = "format")]
    verbose: bool,
    /// table, json, or a template such as '{{.Type}} {{.Size}}'
    #[arg(long)]
    format: Option<String>,
}

/// Remove instances that do not run, images that nobody uses, and what is left over
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
  isola system df
  isola system df --verbose
  isola system prune --all";

const FIELDS: &[Column] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.verb {
        Verb::Df(args) => df(args, context),
        Verb::Info(args) => info::run(args, context),
        Verb::Prune(args) => prune(args, context),
    }
}

fn df(args: &DfArgs, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let users = context.image_users();
    let usage = context.store()?.usage(&users)?;
    let instances = context.engine()?.list()?;
    let sizes = instances.iter().map(|instance| size(context, instance));
    let sizes = sizes.collect::<Result<Vec<u64>>>()?;
    if args.verbose {
        return verbose(&usage, &instances, &sizes, &users);
    }
    let used = usage
        .images
        .iter()
        .filter(|image| !users(&image.id).is_empty());
    let live = || {
        instances
            .iter()
            .zip(&sizes)
            .filter(|(i, _)| i.status.state.is_live())
    };
    let total: u64 = sizes.iter().sum();
    let kept: u64 = live().map(|(_, size)| size).sum();
    let images = usage.images.len();
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: &["Type", "TotalCount", "Active", "Size", "Reclaimable"],
        rows: vec![
            row("Images", images, used.count(), usage.total, usage.in_use),
            row("Containers", instances.len(), live().count(), total, kept),
        ],
    })?;
    Ok(Exit::OK)
}

fn row(kind: &str, count: usize, active: usize, size: u64, kept: u64) -> Value {
    let free = size.saturating_sub(kept);
    let percent = (free * 100).checked_div(size).unwrap_or(0);
    json!({
        "Type": kind,
        "TotalCount": count.to_string(),
        "Active": active.to_string(),
        "Size": decimal_size(size),
        "Reclaimable": format!("{} ({percent}%)", decimal_size(free)),
    })
}

fn verbose(
    usage: &Usage,
    instances: &[Instance],
    sizes: &[u64],
    users: &dyn Fn(&ImageId) -> Vec<String>,
) -> Result<Exit> {
    const IMAGES: &[Column] = &[
        ("Names", "NAMES"),
        ("ID", "IMAGE ID"),
        ("Shared", "SHARED SIZE"),
        ("Unique", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ];
    const INSTANCES: &[Column] = &[
        ("Name", "NAMES"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
    ];
    let table = |fields: &[Column], rows| {
        let shown: Vec<&'static str> = fields.iter().map(|(field, _)| *field).collect();
        Format::Table.render_rows(&Rows {
            fields,
            shown: &shown,
            rows,
        })
    };
    let images = usage.images.iter().map(|image| {
        let names: Vec<String> = image.references.iter().map(Reference::familiar).collect();
        json!({
            "Names": if names.is_empty() { "<none>".to_owned() } else { names.join(", ") },
            "ID": image.id.short(),
            "Shared": decimal_size(image.shared),
            "Unique": decimal_size(image.unique),
            "Containers": users(&image.id).len(),
        })
    });
    let rows = instances.iter().zip(sizes).map(|(instance, size)| {
        json!({
            "Name": instance.record.name,
            "ID": instance.record.id.get(..12).unwrap_or(&instance.record.id),
            "Image": instance.record.workload.image,
            "Status": instance.status.state.as_str(),
            "Size": decimal_size(*size),
        })
    });
    print(&format!(
        "Images:\n\n{}\nContainers:\n\n{}",
        table(IMAGES, images.collect())?,
        table(INSTANCES, rows.collect())?
    ))?;
    Ok(Exit::OK)
}

/// Bytes that an instance's files take: writable layers have holes.
fn size(context: &Context, instance: &Instance) -> Result<u64> {
    Ok(allocated(context.engine()?.files(instance).dir()))
}

/// What cannot be read any more is gone. A running container's root is mounted
/// in its supervisor's mount namespace only, so layers are not counted here.
fn allocated(path: &Path) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    let entries = match meta.is_dir() {
        true => std::fs::read_dir(path).ok(),
        false => None,
    };
    let below = entries.into_iter().flatten().flatten();
    let below: u64 = below.map(|entry| allocated(&entry.path())).sum();
    meta.blocks() * 512 + below
}

fn prune(args: &PruneArgs, context: &Context) -> Result<Exit> {
    let sizes = context.engine()?.list()?.into_iter().map(|instance| {
        let size = size(context, &instance).unwrap_or(0);
        (instance.record.id, size)
    });
    let sizes: std::collections::HashMap<String, u64> = sizes.collect();
    let gone = context.engine()?.prune()?;
    let mut freed: u64 = gone.iter().filter_map(|id| sizes.get(id)).sum();
    gone.iter()
        .try_for_each(|id| print_line(&format!("Deleted: {id}")))?;
    let removed = context.store()?.gc(args.all, &context.image_users())?;
    rmi::tell(&removed)?;
    freed += removed.freed;
    print_line(&format!("Total reclaimed space: {}", decimal_size(freed)))?;
    Ok(Exit::OK)
}

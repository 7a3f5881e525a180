//! `isola system df`

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use isola_images::{ImageId, Reference, Usage};
use isola_runtime::engine::Instance;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{Column, Format, Rows, decimal_size, print};

/// Show what takes how much of the disk
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Each image, instance and volume
    #[arg(short, long, conflicts_with = "format")]
    verbose: bool,
    /// table, json, or a template such as '{{.Type}} {{.Size}}'
    #[arg(long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola system df
  isola system df --verbose
  isola system df --format '{{.Type}} {{.Reclaimable}}'";

const FIELDS: &[Column] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let users = context.image_users();
    let usage = context.store()?.usage(&users)?;
    let instances = context.engine()?.list()?;
    let sizes = instances.iter().map(|instance| size(context, instance));
    let sizes = sizes.collect::<Result<Vec<u64>>>()?;
    let volumes = volumes(context)?;
    if args.verbose {
        return verbose(&usage, &instances, &sizes, &volumes, &users);
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
    let held = || volumes.iter().filter(|volume| volume.links > 0);
    let volume_bytes = volumes.iter().map(|volume| volume.size).sum();
    let held_bytes = held().map(|volume| volume.size).sum();
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: &["Type", "TotalCount", "Active", "Size", "Reclaimable"],
        rows: vec![
            row("Images", images, used.count(), usage.total, usage.in_use),
            row("Containers", instances.len(), live().count(), total, kept),
            row(
                "Local Volumes",
                volumes.len(),
                held().count(),
                volume_bytes,
                held_bytes,
            ),
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
    volumes: &[VolumeUsage],
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
    const VOLUMES: &[Column] = &[
        ("Name", "VOLUME NAME"),
        ("Links", "LINKS"),
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
    let volumes = volumes.iter().map(|volume| {
        json!({
            "Name": volume.name,
            "Links": volume.links,
            "Size": decimal_size(volume.size),
        })
    });
    print(&format!(
        "Images:\n\n{}\nContainers:\n\n{}\nLocal Volumes:\n\n{}",
        table(IMAGES, images.collect())?,
        table(INSTANCES, rows.collect())?,
        table(VOLUMES, volumes.collect())?
    ))?;
    Ok(Exit::OK)
}

/// What a volume takes.
struct VolumeUsage {
    name: String,
    /// Instances that were made with it.
    links: usize,
    /// Bytes; 0 where the data is not ours.
    size: u64,
}

fn volumes(context: &Context) -> Result<Vec<VolumeUsage>> {
    let volumes = context.volumes()?;
    let users: BTreeMap<String, Vec<String>> = context.users_of_volumes()?;
    let usage = |name: &str| {
        let found = volumes.inspect(name, true).ok()?.usage_data?;
        u64::try_from(found.size).ok()
    };
    let all = volumes.list()?.volumes.into_iter();
    let all = all.map(|volume| VolumeUsage {
        links: users.get(&volume.name).map_or(0, Vec::len),
        size: usage(&volume.name).unwrap_or(0),
        name: volume.name,
    });
    Ok(all.collect())
}

/// Bytes that an instance's files take: writable layers have holes.
pub(super) fn size(context: &Context, instance: &Instance) -> Result<u64> {
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

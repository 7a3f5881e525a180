//! `isola volume ls`

use std::collections::BTreeMap;

use isola_volume::{Inspect, Volume, Volumes};
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::filter::Filters;
use crate::output::{Column, Format, Rows, decimal_size, print_line};

/// List volumes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Names only
    #[arg(short, long)]
    quiet: bool,
    /// Show how much each takes, too; looks at all of their files
    #[arg(short, long)]
    size: bool,
    /// Only those with name, driver, label, dangling
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template such as '{{.Name}} {{.Mountpoint}}'
    #[arg(long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola volume ls
  isola volume ls --size
  isola volume ls -q --filter dangling=true";

const FIELDS: &[Column] = &[
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Options", "OPTIONS"),
    ("CreatedAt", "CREATED AT"),
];
const SHOWN: &[&str] = &["Driver", "Name"];
const WITH_SIZE: &[&str] = &["Driver", "Name", "Links", "Size"];
const FILTERS: &[&str] = &["name", "driver", "label", "dangling"];

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let filters = Filters::parse(&args.filter, FILTERS)?;
    filters.words("dangling", &["true", "false", "1", "0"])?;
    let volumes = context.volumes()?;
    let users = context.users_of_volumes()?;
    let listing = volumes.list()?;
    let mut exit = Exit::OK;
    for error in listing.damaged {
        context.report(&Failure::from(error));
        exit = Exit::PARTLY;
    }
    let mut all = listing.volumes;
    all.retain(|volume| fits(volume, &filters, &users));
    if args.quiet && args.format.is_none() {
        all.iter().try_for_each(|volume| print_line(&volume.name))?;
        return Ok(exit);
    }
    let links = |name: &str| users.get(name).map_or(0, Vec::len);
    let rows = all
        .iter()
        .map(|volume| row(&volumes, volume, links(&volume.name), args.size))
        .collect::<Result<_>>()?;
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: if args.size { WITH_SIZE } else { SHOWN },
        rows,
    })?;
    Ok(exit)
}

fn fits(volume: &Volume, filters: &Filters, users: &BTreeMap<String, Vec<String>>) -> bool {
    filters.any("name", |name| volume.name.contains(name.as_str()))
        && filters.any("driver", |driver| driver == "local")
        && filters.any("dangling", |word| {
            matches!(word.as_str(), "true" | "1") != users.contains_key(&volume.name)
        })
        && filters.labels(&volume.labels)
}

fn row(volumes: &Volumes, volume: &Volume, links: usize, size: bool) -> Result<Value> {
    let Inspect {
        mountpoint,
        usage_data,
        ..
    } = volumes.inspect(&volume.name, size)?;
    let bytes = usage_data.and_then(|usage| u64::try_from(usage.size).ok());
    let join = |map: &BTreeMap<String, String>| {
        let pairs = map.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(",")
    };
    Ok(json!({
        "Driver": "local",
        "Name": volume.name,
        "Scope": "local",
        "Mountpoint": mountpoint,
        "Links": links.to_string(),
        "Size": bytes.map_or("N/A".to_owned(), decimal_size),
        "Labels": join(&volume.labels),
        "Options": join(&volume.options),
        "CreatedAt": volume.created,
    }))
}

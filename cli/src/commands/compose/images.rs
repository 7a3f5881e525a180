//! `isola compose images`

use isola_images::{ImageId, Reference};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::ProjectArgs;
use super::scope::Scope;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{Column, Format, Rows, decimal_size, print, since};

/// List the images that the instances of a project were made from
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// table, json, or a template such as '{{.ContainerName}} {{.ID}}'
    #[arg(long)]
    format: Option<String>,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose images
  isola compose images -q web
  isola compose images --format json";

const FIELDS: &[Column] = &[
    ("ContainerName", "CONTAINER"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Platform", "PLATFORM"),
    ("ID", "IMAGE ID"),
    ("Size", "SIZE"),
    ("Created", "CREATED"),
];
const SHOWN: &[&str] = &[
    "ContainerName",
    "Repository",
    "Tag",
    "Platform",
    "ID",
    "Size",
    "Created",
];

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let scope = Scope::of_any(project, &args.services, context)?;
    let here = scope.instances(context)?;
    if args.quiet {
        let mut ids: Vec<&str> = here.iter().map(|here| here.image_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(Exit::OK);
    }
    let store = context.store()?;
    let rows = here.iter().map(|here| {
        // It may have been removed by force.
        let image = store.inspect(&here.image_id).unwrap_or_default();
        row(&here.name, &here.image, &here.image_id, &image, &format)
    });
    format.print_whole(&Rows {
        fields: FIELDS,
        shown: SHOWN,
        rows: rows.collect(),
    })?;
    Ok(Exit::OK)
}

/// What is told of an instance's image; JSON has whole ids, bytes and RFC 3339.
fn row(instance: &str, named: &str, id: &str, image: &Value, format: &Format) -> Value {
    let reference = named.parse::<Reference>().ok();
    let text = |key: &str| image[key].as_str().filter(|text| !text.is_empty());
    let parts = [text("Os"), text("Architecture"), text("Variant")];
    let platform: Vec<&str> = parts.into_iter().flatten().collect();
    let created = text("Created").and_then(|text| text.parse::<Timestamp>().ok());
    let mut row = json!({
        "ContainerName": instance,
        "Repository": reference.as_ref().map_or(named.to_owned(), Reference::familiar_name),
        "Tag": reference.as_ref().and_then(Reference::tag).unwrap_or("<none>"),
        "Platform": platform.join("/"),
    });
    if format.is_json() {
        row["ID"] = id.into();
        row["Size"] = image["Size"].clone();
        row["Created"] = text("Created").into();
        return row;
    }
    let millis = created.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    row["ID"] = id
        .parse::<ImageId>()
        .map_or(id.to_owned(), |id| id.short())
        .into();
    row["Size"] = image["Size"]
        .as_u64()
        .map_or(String::new(), decimal_size)
        .into();
    row["Created"] = millis.map_or("N/A".to_owned(), since).into();
    row
}

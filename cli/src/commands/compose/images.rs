//! `isola compose images`

use isola_images::Reference;
use serde_json::{Value, json};

use super::ProjectArgs;
use super::scope::Scope;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{Column, Format, Rows, decimal_size, print};

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
    ("ID", "IMAGE ID"),
    ("Size", "SIZE"),
];
const SHOWN: &[&str] = &["ContainerName", "Repository", "Tag", "ID", "Size"];

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
    let all = context.store()?.list()?;
    let rows = here.iter().map(|here| -> Value {
        let reference = here.image.parse::<Reference>().ok();
        let summary = all
            .iter()
            .find(|image| image.id.to_string() == here.image_id);
        json!({
            "ContainerName": here.name,
            "Repository": reference.as_ref().map_or(here.image.clone(), Reference::familiar_name),
            "Tag": reference.as_ref().and_then(Reference::tag).unwrap_or("<none>"),
            "ID": summary.map_or_else(|| here.image_id.clone(), |image| image.id.short()),
            "Size": summary.map_or_else(String::new, |image| decimal_size(image.size)),
        })
    });
    format.print_whole(&Rows {
        fields: FIELDS,
        shown: SHOWN,
        rows: rows.collect(),
    })?;
    Ok(Exit::OK)
}

//! `isola compose volumes`

use isola_compose::label;
use serde_json::{Value, json};

use super::ProjectArgs;
use super::scope::Scope;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{Column, Format, Rows, print};

/// List the volumes of a project
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Names only
    #[arg(short, long)]
    quiet: bool,
    /// table, json, or a template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,
    /// Only volumes of these services
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose volumes
  isola compose volumes -q db
  isola compose volumes --format json";

const FIELDS: &[Column] = &[
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Labels", "LABELS"),
];
const SHOWN: &[&str] = &["Driver", "Name"];

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let scope = Scope::of_any(project, &args.services, context)?;
    let users = context.users_of_volumes()?;
    let ids: Vec<String> = scope
        .instances(context)?
        .into_iter()
        .map(|here| here.id)
        .collect();
    let used = |name: &str| {
        users
            .get(name)
            .is_some_and(|users| users.iter().any(|id| ids.contains(id)))
    };
    let mut all = context.volumes()?.list()?.volumes;
    all.retain(|volume| match args.services.is_empty() {
        true => volume.labels.get(label::PROJECT) == Some(&scope.name),
        false => used(&volume.name),
    });
    if args.quiet && args.format.is_none() {
        print(
            &all.iter()
                .map(|volume| format!("{}\n", volume.name))
                .collect::<String>(),
        )?;
        return Ok(Exit::OK);
    }
    let row = |volume: &isola_volume::Volume| -> Value {
        let labels = volume
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        json!({
            "Driver": "local",
            "Name": volume.name,
            "Labels": labels.collect::<Vec<_>>().join(","),
        })
    };
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: SHOWN,
        rows: all.iter().map(row).collect(),
    })?;
    Ok(Exit::OK)
}

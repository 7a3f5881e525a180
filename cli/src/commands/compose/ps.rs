//! `isola compose ps`

use isola_compose::plan::Here;
use serde_json::{Value, json};

use super::ProjectArgs;
use super::scope::Scope;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::filter::Filters;
use crate::instances::row;
use crate::output::{Column, Format, Rows, print};

/// List the instances of a project
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Stopped ones and those of `run`, too
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Names of services only
    #[arg(long = "services")]
    names: bool,
    /// Only those in this state: created, running, paused, restarting, exited
    #[arg(long, value_name = "STATUS")]
    status: Vec<String>,
    /// Only those with status=
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Also those of services that the file does not have
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    orphans: bool,
    /// table, json, or a template such as '{{.Name}} {{.State}}'
    #[arg(long)]
    format: Option<String>,
    /// Do not cut commands
    #[arg(long)]
    no_trunc: bool,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose ps
  isola compose ps -a --format json
  isola compose ps --services --status running";

const FIELDS: &[Column] = &[
    ("Name", "NAME"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("Service", "SERVICE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Isolation", "ISOLATION"),
    ("Ports", "PORTS"),
    ("ID", "CONTAINER ID"),
    ("State", "STATE"),
    ("Health", "HEALTH"),
    ("ExitCode", "EXIT CODE"),
    ("Project", "PROJECT"),
    ("CreatedAt", "CREATED AT"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
];
const SHOWN: &[&str] = &[
    "Name",
    "Image",
    "Command",
    "Service",
    "RunningFor",
    "Status",
    "Isolation",
    "Ports",
];
const STATES: &[&str] = &[
    "created",
    "running",
    "paused",
    "restarting",
    "exited",
    "dead",
    "removing",
];

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let mut filters = Filters::parse(&args.filter, &["status"])?;
    for status in &args.status {
        filters.add("status", status);
    }
    filters.words("status", STATES)?;
    let scope = Scope::of_any(project, &args.services, context)?;
    let all = args.all || filters.has("status");
    let known = scope.known();
    let mut here = scope.present(context)?.instances;
    here.retain(|here| {
        (all || here.state.is_live() && !here.one_off)
            && (args.services.is_empty() || args.services.contains(&here.service))
            && (args.orphans || known.is_empty() || known.contains(&here.service))
            && filters.any("status", |word| word == here.state.as_str())
    });
    here.sort_by(|a, b| a.name.cmp(&b.name));
    if args.names {
        let mut names: Vec<&str> = here.iter().map(|here| here.service.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        print(
            &names
                .iter()
                .map(|name| format!("{name}\n"))
                .collect::<String>(),
        )?;
        return Ok(Exit::OK);
    }
    for service in &args.services {
        if !here.iter().any(|here| here.service == *service) && !known.contains(service) {
            return Err(Failure::new(
                Code::ComposeFile,
                format!("no such service: {service}"),
            ));
        }
    }
    if args.quiet && args.format.is_none() {
        print(
            &here
                .iter()
                .map(|here| format!("{}\n", here.id))
                .collect::<String>(),
        )?;
        return Ok(Exit::OK);
    }
    let rows = here
        .iter()
        .map(|here| fields(here, &scope, args.no_trunc, context));
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: SHOWN,
        rows: rows.collect::<Result<Vec<_>>>()?,
    })?;
    Ok(Exit::OK)
}

fn fields(here: &Here, scope: &Scope, no_trunc: bool, context: &Context) -> Result<Value> {
    let instance = context.engine()?.find(&here.id)?;
    let mut row = row(&instance, &context.links()?, no_trunc);
    let health = instance
        .status
        .health
        .as_ref()
        .filter(|_| instance.status.state.is_live());
    let more = json!({
        "Name": here.name,
        "Service": here.service,
        "Project": scope.name,
        "Health": health.map_or("", |health| health.state.as_str()),
        "ExitCode": instance.status.exit_code.unwrap_or(0),
    });
    if let (Value::Object(row), Value::Object(more)) = (&mut row, more) {
        row.extend(more);
    }
    Ok(row)
}

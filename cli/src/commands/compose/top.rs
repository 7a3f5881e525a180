//! `isola compose top`

use serde_json::Value;

use super::ProjectArgs;
use super::scope::Scope;
use crate::commands::top::{FIELDS, SHOWN, processes};
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{Column, Format, Rows};

/// List the processes of services
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// table, json, or a template such as '{{.Service}} {{.PID}} {{.CMD}}'
    #[arg(long)]
    format: Option<String>,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose top
  isola compose top web db
  isola compose top --format json";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let scope = Scope::of_any(project, &args.services, context)?;
    let mut rows = Vec::new();
    for here in scope
        .instances(context)?
        .iter()
        .filter(|here| here.state.is_live())
    {
        let instance = context.engine()?.find(&here.id)?;
        for mut row in processes(context, &instance)? {
            if let Value::Object(row) = &mut row {
                row.insert("Service".to_owned(), here.service.as_str().into());
                row.insert("Number".to_owned(), here.number.to_string().into());
            }
            rows.push(row);
        }
    }
    let own: [Column; 2] = [("Service", "SERVICE"), ("Number", "#")];
    let fields: Vec<Column> = own.into_iter().chain(FIELDS.iter().copied()).collect();
    let shown: Vec<&str> = ["Service", "Number"]
        .into_iter()
        .chain(SHOWN.iter().copied())
        .collect();
    format.print_rows(&Rows {
        fields: &fields,
        shown: &shown,
        rows,
    })?;
    Ok(Exit::OK)
}

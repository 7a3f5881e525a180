//! `isola doctor`

use isola_runtime::workload::Isolation;
use serde_json::{Value, json};

use crate::checks::{self, Check, obstacle};
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{Format, clean, print, print_json};

/// Check what this host can do for each wall
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// table, json, or a template such as '{{range .checks}}{{.check}} {{end}}'
    #[arg(long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola doctor
  isola doctor --format json
  isola doctor --format '{{.walls.vm.usable}}'";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let checks = checks::all(context.engine()?.paths(), &context.kernels()?);
    match format {
        Format::Table => print(&plain(&checks))?,
        Format::Json => print_json(&value(&checks))?,
        template => template.print_value(&value(&checks), String::new)?,
    }
    let some = Isolation::ALL
        .into_iter()
        .any(|wall| obstacle(&checks, wall).is_none());
    Ok(if some { Exit::OK } else { Exit::PARTLY })
}

fn value(checks: &[Check]) -> Value {
    let mut walls = serde_json::Map::new();
    for wall in Isolation::ALL {
        let obstacle = obstacle(checks, wall);
        walls.insert(
            wall.name().to_owned(),
            json!({
                "usable": obstacle.is_none(),
                "reason": obstacle.map(|check| format!("{}: {}", check.name, check.detail)),
                "hint": obstacle.and_then(|check| check.hint.as_deref()),
            }),
        );
    }
    json!({"walls": walls, "checks": checks.iter().map(Check::to_json).collect::<Vec<_>>()})
}

fn plain(checks: &[Check]) -> String {
    let mut text = String::new();
    for group in ["host", "container", "vm", "emulated"] {
        let wall = Isolation::ALL.into_iter().find(|wall| wall.name() == group);
        let verdict = match wall.map(|wall| obstacle(checks, wall)) {
            None => String::new(),
            Some(None) => ": usable".to_owned(),
            Some(Some(check)) => format!(": not usable ({} is missing)", check.name),
        };
        text.push_str(&format!("{group}{verdict}\n"));
        for check in checks.iter().filter(|check| check.group == group) {
            text.push_str(&format!(
                "  {:<9}{}: {}\n",
                check.outcome.word(),
                check.name,
                clean(&check.detail)
            ));
            if let Some(hint) = check.hint.as_deref().filter(|hint| !hint.is_empty()) {
                text.push_str(&format!("           hint: {}\n", clean(hint)));
            }
        }
    }
    text
}

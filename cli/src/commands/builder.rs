//! `isola builder`: what builds keep for the next ones.

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{Column, Format, Rows, decimal_size, print_line};

/// Look at what builds keep, and clear it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(visible_alias = "du")]
    Ls(LsArgs),
    Prune(PruneArgs),
}

/// List the steps whose results are kept
#[derive(Debug, clap::Args)]
struct LsArgs {
    /// table, json, or a template such as '{{.ID}} {{.Step}}'
    #[arg(long)]
    format: Option<String>,
}

/// Forget what steps have made, but what images need
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Only what was of no use for so long, as 24h or 7d
    #[arg(long, value_name = "TIME")]
    older: Option<String>,
    /// Also caches of RUN --mount=type=cache
    #[arg(short, long)]
    all: bool,
    /// Accepted for Docker's sake: nothing is asked
    #[arg(short, long)]
    force: bool,
}

const EXAMPLES: &str = "Examples:
  isola builder ls
  isola builder prune
  isola builder prune --older 7d";

const FIELDS: &[Column] = &[
    ("ID", "ID"),
    ("Step", "STEP"),
    ("Size", "SIZE"),
    ("Used", "LAST USED"),
];

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.verb {
        Verb::Ls(args) => list(args, context),
        Verb::Prune(args) => prune(args, context),
    }
}

fn list(args: &LsArgs, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let records = context.store()?.build_records()?;
    let rows = records.into_iter().map(|(key, record, age)| {
        json!({
            "ID": key.short(),
            "Step": record.step.lines().next().unwrap_or_default(),
            "Size": decimal_size(record.blob.size),
            "Used": format!("{} s ago", age.as_secs()),
        })
    });
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: &["ID", "Step", "Size", "Used"],
        rows: rows.collect(),
    })?;
    Ok(Exit::OK)
}

fn prune(args: &PruneArgs, context: &Context) -> Result<Exit> {
    let older = match &args.older {
        Some(text) => time(text).ok_or_else(|| {
            let message = format!("--older {text:?} is no time, as 30m, 24h or 7d");
            Failure::new(Code::Invalid, message)
        })?,
        None => Duration::ZERO,
    };
    let pruned = context.store()?.prune_builds(older)?;
    if args.all {
        let caches = context.engine()?.paths().root().join("caches");
        match std::fs::remove_dir_all(&caches) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::system(
                    format!("remove {}", caches.display()),
                    error,
                ));
            }
            _ => {}
        }
    }
    print_line(&format!("Steps forgotten: {}", pruned.records))?;
    print_line(&format!(
        "Total reclaimed space: {}",
        decimal_size(pruned.freed)
    ))?;
    Ok(Exit::OK)
}

/// Digits and one of s, m, h, d.
fn time(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

//! `isola volume inspect`

use clap_complete::engine::ArgValueCandidates;
use serde_json::Value;

use crate::commands::inspect::show;
use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Failure, Result};

/// Show everything about volumes, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// json, or a template such as '{{.Mountpoint}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Tell how much it takes, too; looks at all of its files
    #[arg(short, long)]
    size: bool,
    /// Names
    #[arg(required = true, value_name = "VOLUME", add = ArgValueCandidates::new(complete::volumes))]
    volumes: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola volume inspect data
  isola volume inspect --format '{{.Mountpoint}}' data
  isola volume inspect --size --format '{{.UsageData.Size}}' data";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    show(context, &args.volumes, args.format.as_deref(), |name| {
        volume_details(context, name, args.size)
    })
}

/// What is known about a volume, under Docker's names.
pub(crate) fn volume_details(context: &Context, name: &str, size: bool) -> Result<Value> {
    let volume = context.volumes()?.inspect(name, size)?;
    serde_json::to_value(volume)
        .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))
}

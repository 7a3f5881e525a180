//! `isola volume prune`

use isola_volume::{LabelFilter, Prune};

use crate::confirm::confirm;
use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::output::{decimal_size, print};

/// Remove unnamed volumes that no instance was made with; with --all named ones, too
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Those with names, too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with label or label!
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola volume prune
  isola volume prune --all --filter label=test
  isola volume prune --force --filter 'label!=keep'";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let labels = args.filter.iter().map(|text| LabelFilter::parse(text));
    let prune = Prune {
        all: args.all,
        labels: labels.collect::<std::result::Result<_, _>>()?,
    };
    let which = if args.all { "all" } else { "all unnamed" };
    let question =
        format!("This will remove {which} volumes that no instance was made with, and their data.");
    confirm(args.force, &question)?;
    let users = context.users_of_volumes()?;
    let claims = |name: &str| users.get(name).cloned().unwrap_or_default();
    let pruned = context.volumes()?.prune(&prune, claims)?;
    let mut text = String::new();
    if !pruned.removed.is_empty() {
        text.push_str(&format!(
            "Deleted Volumes:\n{}\n\n",
            pruned.removed.join("\n")
        ));
    }
    text.push_str(&format!(
        "Total reclaimed space: {}\n",
        decimal_size(pruned.bytes)
    ));
    print(&text)?;
    let mut exit = Exit::OK;
    for error in pruned.failed {
        context.report(&Failure::from(error));
        exit = Exit::PARTLY;
    }
    Ok(exit)
}

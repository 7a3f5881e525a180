//! `isola system prune`

use std::collections::HashMap;

use isola_volume::Prune;

use super::df::size;
use crate::commands::{image, network, rmi};
use crate::confirm::confirm;
use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::output::{decimal_size, print_line};

/// Remove instances that do not run, networks and images that nobody uses, and what is left over
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Also images with a name, if no instance uses them
    #[arg(short, long)]
    all: bool,
    /// Also unnamed volumes that no instance was made with
    #[arg(long)]
    volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

const EXAMPLES: &str = "Examples:
  isola system prune
  isola system prune --all --volumes
  isola system prune --force";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    confirm(args.force, &question(args))?;
    let mut freed = instances(context)?;
    let mut exit = Exit::OK;
    let networks = network::remove_unused(context)?;
    if !networks.is_empty() {
        print_line(&format!("Deleted Networks:\n{}", networks.join("\n")))?;
    }
    if args.volumes {
        let users = context.users_of_volumes()?;
        let claims = |name: &str| users.get(name).cloned().unwrap_or_default();
        let pruned = context.volumes()?.prune(&Prune::default(), claims)?;
        if !pruned.removed.is_empty() {
            print_line(&format!("Deleted Volumes:\n{}", pruned.removed.join("\n")))?;
        }
        freed += pruned.bytes;
        for error in pruned.failed {
            context.report(&Failure::from(error));
            exit = Exit::PARTLY;
        }
    }
    let removed = context.store()?.gc(args.all, &context.image_users())?;
    rmi::tell(&removed)?;
    freed += removed.freed;
    print_line(&format!("Total reclaimed space: {}", decimal_size(freed)))?;
    Ok(exit)
}

fn question(args: &Args) -> String {
    let mut lines = vec![
        "This will remove:",
        "  - all instances that do not run",
        "  - all networks, but `default`, that no instance refers to",
    ];
    if args.volumes {
        lines.push("  - all unnamed volumes that no instance was made with, and their data");
    }
    lines.push(image::what_goes(args.all));
    lines.join("\n")
}

/// Removes those that do not run; gives the bytes that they took.
fn instances(context: &Context) -> Result<u64> {
    let engine = context.engine()?;
    let sizes: HashMap<String, u64> = engine
        .list()?
        .into_iter()
        .map(|instance| {
            let size = size(context, &instance).unwrap_or(0);
            (instance.record.id, size)
        })
        .collect();
    let gone = engine.prune()?;
    gone.iter()
        .try_for_each(|id| print_line(&format!("Deleted: {id}")))?;
    Ok(gone.iter().filter_map(|id| sizes.get(id)).sum())
}

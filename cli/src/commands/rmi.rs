//! `isola rmi`

use clap_complete::engine::ArgValueCandidates;
use isola_images::Removed;

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;

/// Remove images
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Take the name away though instances use the image, and all names of an id
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(complete::images))]
    images: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola rmi debian:12
  isola rmi --force 1f3a5c
  isola rmi $(isola images -q --filter dangling=true)";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let store = context.store()?;
    let users = context.image_users();
    context.each(&args.images, |image| {
        tell(&store.remove(image, args.force, &users)?)
    })
}

/// In Docker's words.
pub(crate) fn tell(removed: &Removed) -> Result<()> {
    for name in &removed.untagged {
        print_line(&format!("Untagged: {}", name.familiar()))?;
    }
    for id in &removed.deleted {
        print_line(&format!("Deleted: {id}"))?;
    }
    Ok(())
}

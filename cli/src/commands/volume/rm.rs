//! `isola volume rm`

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;

/// Remove volumes that no instance was made with, and their data
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// One that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Names
    #[arg(required = true, value_name = "VOLUME", add = ArgValueCandidates::new(complete::volumes))]
    volumes: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola volume rm data
  isola volume rm --force data cache
  isola volume rm $(isola volume ls -q --filter label=test)";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let volumes = context.volumes()?;
    context.each(&args.volumes, |name| {
        let users = context.users_of_volumes()?;
        let claims = |name: &str| users.get(name).cloned().unwrap_or_default();
        match volumes.remove(name, claims).map_err(Failure::from) {
            Err(failure) if args.force && failure.code == Code::NoVolume => Ok(()),
            Err(failure) => Err(failure),
            Ok(()) => print_line(name),
        }
    })
}

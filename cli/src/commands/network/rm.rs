//! `isola network rm`

use clap_complete::engine::ArgValueCandidates;

use super::Users;
use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;

/// Remove networks that no instance refers to
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// One that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK", add = ArgValueCandidates::new(complete::networks))]
    networks: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola network rm lan
  isola network rm --force lan backend
  isola network rm $(isola network ls -q --filter dangling=true)";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let networks = context.networks()?;
    context.each(&args.networks, |key| {
        let found = networks.find(key).map_err(Failure::from);
        let network = match found {
            Err(failure) if args.force && failure.code == Code::NoNetwork => return Ok(()),
            found => found?,
        };
        let users = Users::read(context)?;
        networks.remove(&network, &|network| users.of(network), &|id| {
            users.is_alive(id)
        })?;
        print_line(key)
    })
}

//! `isola network disconnect`

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Take an instance, running or not, from a network
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Forget the link even if the instance does not answer
    #[arg(short, long)]
    force: bool,
    /// Name or id of the network
    #[arg(add = ArgValueCandidates::new(complete::networks))]
    network: String,
    /// Name or id of the instance
    #[arg(add = ArgValueCandidates::new(complete::instances))]
    instance: String,
}

const EXAMPLES: &str = "Examples:
  isola network disconnect lan web
  isola network disconnect default web
  isola network disconnect --force lan web";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let instance = context.find(&args.instance)?;
    let network = match args.network.as_str() {
        // Docker's word for it.
        "bridge" => isola_net::DEFAULT,
        network => network,
    };
    context
        .engine()?
        .disconnect_network(&instance, network, args.force)?;
    Ok(Exit::OK)
}

//! `isola network connect`

use clap_complete::engine::ArgValueCandidates;
use isola_runtime::workload::{LinkFlags, attachment};

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Attach an instance, running or not, to a further network
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Further name on this network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Ethernet address
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Name or id of the network
    #[arg(add = ArgValueCandidates::new(complete::networks))]
    network: String,
    /// Name or id of the instance
    #[arg(add = ArgValueCandidates::new(complete::instances))]
    instance: String,
}

const EXAMPLES: &str = "Examples:
  isola network connect lan web
  isola network connect --ip 10.5.0.7 --alias cache office redis
  isola network connect --alias db backend postgres";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let flags = LinkFlags {
        alias_flag: "--alias",
        aliases: &args.alias,
        ip: args.ip.as_deref(),
        ip6: args.ip6.as_deref(),
        mac: args.mac_address.as_deref(),
    };
    let link = attachment(&args.network, &flags)?;
    let instance = context.find(&args.instance)?;
    // Unknown networks are told of before anything is done.
    if link.network != isola_net::DEFAULT {
        context.networks()?.find(&link.network)?;
    }
    context.engine()?.connect_network(&instance, &link)?;
    Ok(Exit::OK)
}

//! `isola compose port`

use super::ProjectArgs;
use super::scope::Scope;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::instances::ports;
use crate::output::print_line;

/// Show which port of the host leads to a port of a service
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Number of the instance; the first that runs, if none is given
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// tcp or udp
    #[arg(long, default_value = "tcp", value_parser = ["tcp", "udp"])]
    protocol: String,
    /// Service
    service: String,
    /// Its port
    port: u16,
}

const EXAMPLES: &str = "Examples:
  isola compose port web 80
  isola compose port --index 2 worker 8080
  isola compose port --protocol udp dns 53";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, std::slice::from_ref(&args.service), context)?;
    let instance = scope.one(&args.service, args.index, context)?;
    let all = ports(&instance, &context.links()?);
    let of = all
        .iter()
        .filter(|port| port.port == args.port && port.protocol == args.protocol);
    let Some(host) = of.filter_map(|port| port.host).next() else {
        let message = format!(
            "no port of the host leads to {}/{} of {}",
            args.port, args.protocol, args.service
        );
        return Err(Failure::new(Code::Invalid, message)
            .hint("`isola compose ps` shows the ports of running services"));
    };
    print_line(&host.to_string())?;
    Ok(Exit::OK)
}

//! `isola network create`

use isola_net::NetworkSpec;

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;
use crate::pairs::pairs;

/// Make a network
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Kind of network; there is bridge only
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Its addresses, such as 10.5.0.0/24; once per family. Chosen when not given
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    subnet: Vec<String>,
    /// The host's address in it; once per subnet
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    gateway: Vec<String>,
    /// Part of the subnet from which addresses are given
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// IPv6, too
    #[arg(long)]
    ipv6: bool,
    /// No way out and none in
    #[arg(long)]
    internal: bool,
    /// Label KEY=VALUE
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// mtu=BYTES, isolate=true|false
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Name
    name: String,
}

const EXAMPLES: &str = "Examples:
  isola network create lan
  isola network create --subnet 10.5.0.0/24 --ip-range 10.5.0.128/25 --gateway 10.5.0.254 office
  isola network create --ipv6 --internal --opt mtu=1400 backend";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    if args.name == "bridge" {
        let message =
            "a network can't be called bridge: it is another word for the default network";
        return Err(Failure::new(Code::Invalid, message));
    }
    let network = context.networks()?.create(&NetworkSpec {
        name: args.name.clone(),
        driver: Some(args.driver.clone()),
        subnets: args.subnet.clone(),
        gateways: args.gateway.clone(),
        ip_ranges: args.ip_range.clone(),
        ipv6: args.ipv6,
        internal: args.internal,
        labels: pairs("--label", &args.label)?,
        options: pairs("--opt", &args.opt)?,
    })?;
    print_line(&network.id)?;
    Ok(Exit::OK)
}

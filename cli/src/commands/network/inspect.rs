//! `isola network inspect`

use clap_complete::engine::ArgValueCandidates;
use ipnet::IpNet;
use isola_net::{Lease, Network, Subnet};
use serde_json::{Map, Value, json};

use super::Users;
use crate::commands::inspect::show;
use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::rfc3339;

/// Show everything about networks, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// json, or a template such as '{{.Id}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NETWORK", add = ArgValueCandidates::new(complete::networks))]
    networks: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola network inspect lan
  isola network inspect --format '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}' lan
  isola network inspect --format '{{json .IPAM.Config}}' lan default";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    show(context, &args.networks, args.format.as_deref(), |name| {
        network_details(context, name)
    })
}

/// What is known about a network, under Docker's names.
pub(crate) fn network_details(context: &Context, name: &str) -> Result<Value> {
    let networks = context.networks()?;
    let network = networks.find(name)?;
    let users = Users::read(context)?;
    let leases = networks.leases(&network)?;
    let members = leases
        .iter()
        .filter(|lease| users.is_alive(&lease.instance));
    let members: Map<String, Value> = members
        .map(|lease| (lease.instance.clone(), member(&network, lease)))
        .collect();
    let mut options = Map::new();
    if let Some(mtu) = network.mtu {
        options.insert("mtu".to_owned(), mtu.to_string().into());
    }
    options.insert("isolate".to_owned(), network.isolate.to_string().into());
    Ok(json!({
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(Some(network.created_ms)),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": network.v4().is_some(),
        "EnableIPv6": network.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": network.subnets.iter().map(part).collect::<Vec<_>>(),
        },
        "Internal": network.internal,
        "Attachable": false,
        "Ingress": false,
        "Bridge": network.bridge,
        "Containers": members,
        "Options": options,
        "Labels": network.labels,
    }))
}

fn part(part: &Subnet) -> Value {
    let mut map = Map::new();
    map.insert("Subnet".to_owned(), part.subnet.to_string().into());
    if let Some(range) = part.ip_range {
        map.insert("IPRange".to_owned(), range.to_string().into());
    }
    map.insert("Gateway".to_owned(), part.gateway.to_string().into());
    Value::Object(map)
}

fn member(network: &Network, lease: &Lease) -> Value {
    let with_prefix = |address: Option<std::net::IpAddr>, part: Option<&Subnet>| {
        let net = IpNet::new(address?, part?.subnet.prefix_len()).ok()?;
        Some(net.to_string())
    };
    let v4 = with_prefix(lease.ipv4.map(Into::into), network.v4());
    let v6 = with_prefix(lease.ipv6.map(Into::into), network.v6());
    json!({
        "Name": lease.name(),
        "EndpointID": lease.endpoint(network),
        "DNSNames": lease.names,
        "MacAddress": lease.mac.to_string(),
        "IPv4Address": v4.unwrap_or_default(),
        "IPv6Address": v6.unwrap_or_default(),
    })
}

//! Flags about networks.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use isola_runtime::workload::Options;

use crate::complete;

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkFlags {
    /// Name, name=NAME,alias=...,ip=..., none, host or container:INSTANCE [env: ISOLA_NETWORK=]
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    #[arg(add = ArgValueCandidates::new(complete::attachable))]
    network: Vec<String>,
    /// Further name on the first network
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// IPv4 address on the first network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address on the first network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Ethernet address on the first network
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Publish [[ADDRESS:]HOST:]PORT[/udp]; ranges are FIRST-LAST
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish all exposed ports on free ports of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Name a port PORT[-PORT][/udp] without publishing it
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// Server for names that the network does not know
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Domain to try after a short name; . is none
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of resolv.conf, such as ndots:2
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Line NAME:ADDRESS for /etc/hosts; host-gateway is the host
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
}

impl NetworkFlags {
    /// Puts the flags into `options`.
    pub(super) fn fill(&self, options: &mut Options) {
        options.network.clone_from(&self.network);
        options.network_alias.clone_from(&self.network_alias);
        options.ip.clone_from(&self.ip);
        options.ip6.clone_from(&self.ip6);
        options.mac_address.clone_from(&self.mac_address);
        options.publish.clone_from(&self.publish);
        options.publish_all = self.publish_all;
        options.expose.clone_from(&self.expose);
        options.dns.clone_from(&self.dns);
        options.dns_search.clone_from(&self.dns_search);
        options.dns_option.clone_from(&self.dns_option);
        options.add_host.clone_from(&self.add_host);
    }

    /// Ports are to be published.
    pub(super) fn publishes(&self) -> bool {
        self.publish_all || !self.publish.is_empty()
    }
}

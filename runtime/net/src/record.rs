//! What is recorded about a network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use isola_proto::Mac;
use serde::{Deserialize, Serialize};

/// A network as it is recorded in `ROOT/networks/ID/network.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, unique in the data root.
    pub name: String,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: u64,
    /// Always `bridge`.
    pub driver: String,
    /// Name of the host's bridge, there while an instance is attached.
    pub bridge: String,
    /// One IPv4 network, and one IPv6 network if it has IPv6.
    pub subnets: Vec<Subnet>,
    /// Does it have IPv6?
    pub ipv6: bool,
    /// No way in or out but between its own members.
    pub internal: bool,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Largest packet in bytes; `None` is the kernel's 1500.
    pub mtu: Option<u32>,
    /// Closed towards other networks.
    pub isolate: bool,
}

/// One family's addresses of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The addresses.
    pub subnet: IpNet,
    /// The bridge's address.
    pub gateway: IpAddr,
    /// Addresses are given from this part only, unless asked for.
    pub ip_range: Option<IpNet>,
    /// It was chosen by us, and is chosen anew when the host got a route into it
    /// while no instance was attached.
    #[serde(default)]
    pub automatic: bool,
}

impl Subnet {
    /// The gateway's address with the prefix length of the network.
    pub fn gateway_net(&self) -> IpNet {
        IpNet::new(self.gateway, self.subnet.prefix_len()).unwrap_or(self.subnet)
    }
}

impl Network {
    /// Its first 12 digits.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// The IPv4 part.
    pub fn v4(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|part| part.gateway.is_ipv4())
    }

    /// The IPv6 part.
    pub fn v6(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|part| part.gateway.is_ipv6())
    }

    /// The addresses of its gateway, on which its name server listens.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.subnets.iter().map(|part| part.gateway).collect()
    }

    /// The bridge's hardware address: of its own, so that it does not change with
    /// its ports, and locally administered.
    pub(crate) fn mac(&self) -> Mac {
        let mut mac = [2, 0x49, 0, 0, 0, 0];
        if let Ok(bytes) = hex::decode(&self.id[..self.id.len().min(8)]) {
            for (to, from) in mac[2..].iter_mut().zip(bytes) {
                *to = from;
            }
        }
        Mac(mac)
    }
}

/// The bridge's name: unique by the random id, also between data roots, and at
/// most 15 characters (IFNAMSIZ).
pub(crate) fn bridge_name(id: &str) -> String {
    format!("isola-{}", &id[..id.len().min(9)])
}

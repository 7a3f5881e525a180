//! Another instance whose network is shared (`--network container:NAME`).

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use isola_net::Networks;

use crate::engine::Engine;
use crate::error::Result;
use crate::joined::Other;
use crate::state::Record;
use crate::workload::Network;

/// What is shared with it.
#[derive(Debug)]
pub struct Neighbour {
    /// Its network namespace.
    pub namespace: OwnedFd,
    /// Its host name, which belongs to its addresses.
    pub hostname: String,
    /// Its domain name.
    pub domainname: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its networks' name servers.
    pub nameservers: Vec<IpAddr>,
}

impl Neighbour {
    /// The running instance of this name or id, whose network the instance of `record`
    /// gets.
    ///
    /// # Errors
    /// There is none, it does not run, or it has a kernel of its own.
    pub fn find(engine: &Engine, key: &str, record: &Record) -> Result<Neighbour> {
        let other = Other::find(engine, key, "the network", record)?;
        let namespace = other.namespace("net")?;
        let instance = &other.instance;
        let workload = &instance.record.workload;
        let mut neighbour = Neighbour {
            namespace,
            hostname: workload.hostname.clone(),
            domainname: workload.domainname.clone(),
            addresses: Vec::new(),
            nameservers: Vec::new(),
        };
        if !matches!(workload.network, Network::Bridged(_)) {
            return Ok(neighbour);
        }
        let networks = Networks::open(engine.paths().root())?;
        for network in networks.list()? {
            let leases = networks.leases(&network)?;
            let own = leases.iter().filter(|it| it.instance == instance.record.id);
            for lease in own {
                neighbour.addresses.extend(lease.addresses());
                neighbour.nameservers.extend(network.gateways());
            }
        }
        Ok(neighbour)
    }
}

//! Another instance whose network is shared (`--network container:NAME`).

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use isola_net::Networks;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
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
    /// The running instance of this name or id.
    ///
    /// # Errors
    /// There is none, it does not run, or it has a kernel of its own.
    pub fn find(engine: &Engine, key: &str) -> Result<Neighbour> {
        let instance = engine.find(key)?;
        let refused = |why: &str| {
            let message = format!("the network of instance {key} can't be shared: {why}");
            Error::new(Kind::Conflict, message)
        };
        let workload = &instance.record.workload;
        if crate::workload::WallCapabilities::of(workload.isolation).own_kernel {
            return Err(refused("it is a guest's, behind a kernel of its own"));
        }
        let pid = instance
            .status
            .pid
            .filter(|_| instance.status.state.is_live());
        let pid = pid.ok_or_else(|| {
            refused("it does not run").hint(format!("start it with `isola start {key}`"))
        })?;
        let namespace = super::namespace_of(pid).map_err(|_| refused("it has just ended"))?;
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

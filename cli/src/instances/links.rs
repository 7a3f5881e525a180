//! What instances have of networks while they run.

use isola_net::{Lease, Networks};
use isola_runtime::engine::Instance;
use isola_runtime::workload::{Network, Workload};

use crate::error::Result;

/// All networks with their leases, as they were when they were read.
#[derive(Debug, Default)]
pub(crate) struct Links {
    all: Vec<(isola_net::Network, Vec<Lease>)>,
}

impl Links {
    /// Reads the records.
    pub(crate) fn read(networks: &Networks) -> Result<Links> {
        let with_leases = |network: isola_net::Network| {
            let leases = networks.leases(&network)?;
            Ok((network, leases))
        };
        let all = networks.list()?.into_iter().map(with_leases);
        Ok(Links {
            all: all.collect::<Result<_>>()?,
        })
    }

    /// What an instance has, in the order of its networks; nothing while it does
    /// not run.
    pub(crate) fn of(&self, instance: &Instance) -> Vec<(&isola_net::Network, &Lease)> {
        if !instance.status.state.is_live() {
            return Vec::new();
        }
        let id = &instance.record.id;
        let mut found: Vec<_> = self
            .all
            .iter()
            .filter_map(|(network, leases)| {
                let lease = leases.iter().find(|lease| lease.instance == *id)?;
                Some((network, lease))
            })
            .collect();
        let wanted = wanted(&instance.record.workload);
        found.sort_by_key(|(network, _)| {
            let place = wanted.iter().position(|key| is_called(network, key));
            place.unwrap_or(wanted.len())
        });
        found
    }

    /// The network that a user calls `key`.
    pub(crate) fn find(&self, key: &str) -> Option<&isola_net::Network> {
        let mut all = self.all.iter().map(|(network, _)| network);
        all.find(|network| is_called(network, key))
    }

    /// Names of the networks of an instance, running or not.
    pub(crate) fn names(&self, workload: &Workload) -> Vec<String> {
        match &workload.network {
            Network::None => vec!["none".to_owned()],
            Network::Host => vec!["host".to_owned()],
            Network::Instance(other) => vec![format!("container:{other}")],
            Network::Bridged(_) => wanted(workload)
                .into_iter()
                .map(|key| {
                    self.find(key)
                        .map_or(key.to_owned(), |network| network.name.clone())
                })
                .collect(),
        }
    }
}

fn wanted(workload: &Workload) -> Vec<&str> {
    match &workload.network {
        Network::Bridged(links) => links.iter().map(|link| link.network.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// Whether a user may call a network so: by its name, its id, or the beginning of
/// its id that is shown.
pub(crate) fn is_called(network: &isola_net::Network, key: &str) -> bool {
    network.name == key || key.len() >= 12 && network.id.starts_with(key)
}

//! What data roots on one host share: its addresses. A subnet belongs to one
//! network of one data root, also while its bridge is not there. Reservations are
//! files below `/run/isola/net`, apart for every network namespace, under one
//! lock; the host's routes count as well.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use isola_netlink::{Route, Socket};
use serde::{Deserialize, Serialize};

use crate::address::{first, overlap};
use crate::error::{Error, Result};
use crate::file::{Lock, read_json, write_json_for_this_boot};
use crate::record::{Network, Subnet};

const FOLDER: &str = "/run/isola/net";
/// Private networks (RFC 1918) from which subnets are chosen: parts that other
/// container tools do not begin with.
const POOLS: [Ipv4Net; 2] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 152, 0, 0), 13),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 24, 0, 0), 13),
];
/// 1021 instances.
const CHOSEN_V4: u8 = 22;
const CHOSEN_V6: u8 = 64;

/// One reservation.
#[derive(Debug, Serialize, Deserialize)]
struct Reserved {
    /// The network's folder: a reservation ends with it.
    folder: PathBuf,
    name: String,
    subnets: Vec<IpNet>,
}

/// The host's addresses, locked against every other data root's changes.
#[derive(Debug)]
pub(crate) struct Host {
    _lock: Lock,
    folder: PathBuf,
    reserved: Vec<(String, Reserved)>,
    routes: Vec<Route>,
}

impl Host {
    /// Takes the lock and reads what is in use.
    pub(crate) fn lock(socket: &mut Socket) -> Result<Host> {
        let own = "/proc/thread-self/ns/net";
        let namespace = fs::metadata(own).map_err(|e| Error::io("read", Path::new(own), e))?;
        let folder = Path::new(FOLDER).join(namespace.ino().to_string());
        fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
        let lock = Lock::wait(&Path::new(FOLDER).join("lock"))?;
        // Another may have removed the empty folder before the lock was taken.
        fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
        let mut reserved = Vec::new();
        let entries = fs::read_dir(&folder).map_err(|error| Error::io("read", &folder, error))?;
        for entry in entries.flatten() {
            let path = entry.path();
            match read_json::<Reserved>(&path) {
                Ok(Some(one)) if one.folder.exists() => {
                    reserved.push((entry.file_name().to_string_lossy().into_owned(), one));
                }
                // Of a data root that is gone, or damaged: it reserves nothing.
                _ => drop(fs::remove_file(&path)),
            }
        }
        Ok(Host {
            _lock: lock,
            folder,
            reserved,
            routes: socket.routes()?,
        })
    }

    /// Removes what data roots that are gone have left in other network namespaces,
    /// which nobody else looks at any more.
    pub(crate) fn tidy(&self) {
        for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
            let folder = entry.path();
            if folder == self.folder {
                continue;
            }
            for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let reserved = read_json::<Reserved>(&file.path());
                if !reserved.is_ok_and(|it| it.is_some_and(|it| it.folder.exists())) {
                    drop(fs::remove_file(file.path()));
                }
            }
            // Fails for the lock, and while a reservation is there.
            drop(fs::remove_dir(&folder));
        }
    }

    /// Who has a part of these addresses, but for the network itself and routes
    /// over its own bridge.
    fn holder(&self, net: IpNet, id: &str, bridge: Option<u32>) -> Option<String> {
        let other = self.reserved.iter().find(|(other, reserved)| {
            other != id && reserved.subnets.iter().any(|taken| overlap(*taken, net))
        });
        if let Some((_, reserved)) = other {
            return Some(format!("the network {}", reserved.name));
        }
        self.routes
            .iter()
            .filter(|route| !route.is_default() && (bridge.is_none() || route.index != bridge))
            .find(|route| overlap(route.destination, net))
            .map(|route| format!("the host's route to {}", route.destination))
    }

    /// Checks the subnets of a network.
    pub(crate) fn check(&self, network: &Network, bridge: Option<u32>) -> Result<()> {
        for part in &network.subnets {
            if let Some(holder) = self.holder(part.subnet, &network.id, bridge) {
                return Err(Error::conflict(format!(
                    "the subnet {} of the network {} overlaps {holder}",
                    part.subnet, network.name
                )));
            }
        }
        Ok(())
    }

    /// Chooses a free IPv4 subnet.
    pub(crate) fn choose_v4(&self, id: &str) -> Result<Subnet> {
        POOLS
            .iter()
            .flat_map(|pool| pool.subnets(CHOSEN_V4).into_iter().flatten())
            .map(IpNet::V4)
            .find(|net| self.holder(*net, id, None).is_none())
            .map(automatic)
            .ok_or_else(|| {
                Error::conflict("no private subnet is free on this host")
                    .hint("choose one with --subnet, or remove networks: isola network prune")
            })
    }

    /// Chooses a free unique local IPv6 subnet (RFC 4193), whose global id is the
    /// network's random id.
    pub(crate) fn choose_v6(&self, id: &str) -> Result<Subnet> {
        let digits = u64::from_str_radix(id.get(..10).unwrap_or("0"), 16).unwrap_or(0);
        (0..=u16::MAX)
            .map(|subnet| {
                let high = (0xfd << 56) | (digits << 16) | u64::from(subnet);
                let address = Ipv6Addr::from_bits(u128::from(high) << 64);
                IpNet::V6(Ipv6Net::new_assert(address, CHOSEN_V6))
            })
            .find(|net| self.holder(*net, id, None).is_none())
            .map(automatic)
            .ok_or_else(|| Error::conflict("no local IPv6 subnet is free on this host"))
    }

    /// Reserves a network's subnets until its folder goes.
    pub(crate) fn reserve(&mut self, network: &Network, folder: &Path) -> Result<()> {
        let reserved = Reserved {
            folder: folder.to_owned(),
            name: network.name.clone(),
            subnets: network.subnets.iter().map(|part| part.subnet).collect(),
        };
        let same = self.reserved.iter().any(|(id, old)| {
            *id == network.id && old.folder == reserved.folder && old.subnets == reserved.subnets
        });
        if !same {
            write_json_for_this_boot(&self.folder.join(&network.id), &reserved)?;
            self.reserved.retain(|(id, _)| *id != network.id);
            self.reserved.push((network.id.clone(), reserved));
        }
        Ok(())
    }

    /// Ends a reservation.
    pub(crate) fn free(&mut self, id: &str) {
        self.reserved.retain(|(other, _)| other != id);
        drop(fs::remove_file(self.folder.join(id)));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Fails while a reservation is in it.
        drop(fs::remove_dir(&self.folder));
    }
}

fn automatic(subnet: IpNet) -> Subnet {
    let gateway: IpAddr = first(subnet);
    Subnet {
        subnet,
        gateway,
        ip_range: None,
        automatic: true,
    }
}

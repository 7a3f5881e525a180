//! Who has which address of a network.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;
use isola_proto::{Interface, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::address::{is_usable, next};
use crate::attach::Attachment;
use crate::error::{Error, Result};
use crate::file::{read_json, write_json_for_this_boot};
use crate::ports::Published;
use crate::record::{Network, Subnet};

/// An instance as networks know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRef {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// An instance's place in a network, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The instance's id.
    pub instance: String,
    /// Names that the network's members find it by: the instance's name, the
    /// beginning of its id, its aliases.
    pub names: Vec<String>,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its hardware address.
    pub mac: Mac,
    /// Name servers that it asked for instead of the host's.
    pub dns: Vec<IpAddr>,
    /// Domains that it asked for instead of the host's.
    pub search: Vec<String>,
    /// Its published ports.
    pub ports: Vec<Published>,
}

impl Lease {
    /// The instance's name.
    pub fn name(&self) -> &str {
        self.names.first().map_or(&self.instance, |name| name)
    }

    /// A number of this place in its network, as others have one: 64 hexadecimal digits,
    /// the same each time the instance is there.
    pub fn endpoint(&self, network: &Network) -> String {
        let place = format!("{} {}", network.id, self.instance);
        hex::encode(Sha256::digest(place.as_bytes()))
    }

    /// Its addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.ipv4.map(IpAddr::V4);
        v4.into_iter().chain(self.ipv6.map(IpAddr::V6)).collect()
    }

    /// How the instance's link is to be set up as `name`. Only one of an
    /// instance's networks can give the default routes, and none that is internal
    /// does. `hardware` is the link's own address when it has one already (a
    /// guest's spare NIC).
    pub fn interface(
        &self,
        network: &Network,
        name: &str,
        hardware: Option<Mac>,
        default_routes: bool,
    ) -> Interface {
        let gives = default_routes && !network.internal;
        let net = |part: &Subnet, address| IpNet::new(address, part.subnet.prefix_len()).ok();
        let v4 = network
            .v4()
            .zip(self.ipv4)
            .and_then(|(part, address)| net(part, address.into()));
        let v6 = network
            .v6()
            .zip(self.ipv6)
            .and_then(|(part, address)| net(part, address.into()));
        Interface {
            hardware: hardware.unwrap_or(self.mac),
            name: name.to_owned(),
            mac: hardware.is_some().then_some(self.mac),
            addresses: v4.into_iter().chain(v6).collect(),
            gateways: if gives {
                network.gateways()
            } else {
                Vec::new()
            },
            mtu: network.mtu,
            up: true,
        }
    }
}

/// The leases of a network in `leases.BOOT.json`. Nothing that has one outlives
/// the boot, so the file of another boot is void, and none needs to be on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Leases {
    last_v4: Option<IpAddr>,
    last_v6: Option<IpAddr>,
    leases: Vec<Lease>,
}

impl Leases {
    /// Reads the leases of this boot.
    pub(crate) fn load(folder: &Path) -> Result<Leases> {
        Ok(read_json(&folder.join(file_name()?))?.unwrap_or_default())
    }

    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(file_name()?);
        if !path.exists() {
            let entries = fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))?;
            for entry in entries.flatten() {
                if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                    let old = entry.path();
                    fs::remove_file(&old).map_err(|e| Error::io("remove", &old, e))?;
                }
            }
        }
        write_json_for_this_boot(&path, self)
    }

    pub(crate) fn all(&self) -> &[Lease] {
        &self.leases
    }

    /// Ends the leases of instances that do not run. Returns them.
    pub(crate) fn drop_dead(&mut self, alive: &dyn Fn(&str) -> bool) -> Vec<Lease> {
        self.leases
            .extract_if(.., |lease| !alive(&lease.instance))
            .collect()
    }

    /// Ends the lease of an instance.
    pub(crate) fn drop_of(&mut self, instance: &str) -> Option<Lease> {
        let at = self
            .leases
            .iter()
            .position(|lease| lease.instance == instance)?;
        Some(self.leases.remove(at))
    }

    /// Gives addresses to an instance. An earlier lease of the same instance is
    /// replaced, with its addresses where no others are asked for.
    pub(crate) fn give(
        &mut self,
        network: &Network,
        instance: &InstanceRef,
        asked: &Attachment,
        alive: &dyn Fn(&str) -> bool,
    ) -> Result<Lease> {
        let old = self.drop_of(&instance.id);
        let mut given = self.addresses(network, asked, old.as_ref());
        if given.is_err() {
            // Perhaps only the dead are in the way.
            let dead = self.drop_dead(&|id| alive(id));
            if !dead.is_empty() {
                given = self.addresses(network, asked, old.as_ref());
            }
        }
        let (ipv4, ipv6, mac) = given?;
        if asked.ipv4.is_none() {
            self.last_v4 = ipv4.map(IpAddr::V4).or(self.last_v4);
        }
        if asked.ipv6.is_none() {
            self.last_v6 = ipv6.map(IpAddr::V6).or(self.last_v6);
        }
        let short = instance.id.get(..12).unwrap_or(&instance.id).to_owned();
        let mut names = vec![instance.name.clone(), short];
        for alias in &asked.aliases {
            if !names.contains(alias) {
                names.push(alias.clone());
            }
        }
        let lease = Lease {
            instance: instance.id.clone(),
            names,
            ipv4,
            ipv6,
            mac,
            dns: asked.dns.clone(),
            search: asked.search.clone(),
            ports: asked.ports.clone(),
        };
        self.leases.push(lease.clone());
        Ok(lease)
    }

    fn addresses(
        &self,
        network: &Network,
        asked: &Attachment,
        old: Option<&Lease>,
    ) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>, Mac)> {
        let v4 = self.address(
            network,
            network.v4(),
            asked.ipv4.map(IpAddr::V4),
            old.and_then(|lease| lease.ipv4).map(IpAddr::V4),
            self.last_v4,
        )?;
        let v6 = self.address(
            network,
            network.v6(),
            asked.ipv6.map(IpAddr::V6),
            old.and_then(|lease| lease.ipv6).map(IpAddr::V6),
            self.last_v6,
        )?;
        let mac = match asked.mac {
            Some(mac) => self.asked_mac(network, mac)?,
            None => self.mac(network, v4.or(v6)),
        };
        let v4 = v4.and_then(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        let v6 = v6.and_then(|address| match address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        });
        Ok((v4, v6, mac))
    }

    fn address(
        &self,
        network: &Network,
        part: Option<&Subnet>,
        asked: Option<IpAddr>,
        old: Option<IpAddr>,
        last: Option<IpAddr>,
    ) -> Result<Option<IpAddr>> {
        let Some(part) = part else {
            return match asked {
                Some(address) => Err(Error::invalid(format!(
                    "the network {} has no subnet for the address {address}",
                    network.name
                ))),
                None => Ok(None),
            };
        };
        let holder = |address: IpAddr| {
            self.leases
                .iter()
                .find(|lease| lease.addresses().contains(&address))
        };
        let taken = |address| address == part.gateway || holder(address).is_some();
        let Some(address) = asked else {
            let old = old.filter(|old| is_usable(part.subnet, *old) && !taken(*old));
            return match old.or_else(|| next(part.subnet, part.ip_range, last, &taken)) {
                Some(address) => Ok(Some(address)),
                None => Err(Error::conflict(format!(
                    "the network {} has no free address left in {}",
                    network.name,
                    part.ip_range.unwrap_or(part.subnet)
                ))
                .hint("end an instance, or make a network with a larger subnet")),
            };
        };
        let refused = if !is_usable(part.subnet, address) {
            format!("is no address of an instance in {}", part.subnet)
        } else if address == part.gateway {
            "is the gateway's".to_owned()
        } else if let Some(lease) = holder(address) {
            format!("is used by {}", lease.name())
        } else {
            return Ok(Some(address));
        };
        let message = format!("the address {address} {refused} (network {})", network.name);
        Err(if holder(address).is_some() {
            Error::conflict(message)
        } else {
            Error::invalid(message)
        })
    }

    fn asked_mac(&self, network: &Network, mac: Mac) -> Result<Mac> {
        if mac.0[0] & 1 != 0 || mac.0 == [0; 6] {
            return Err(Error::invalid(format!(
                "the hardware address {mac} is not that of one host"
            )));
        }
        match self.leases.iter().find(|lease| lease.mac == mac) {
            Some(lease) => Err(Error::conflict(format!(
                "the hardware address {mac} is used by {} (network {})",
                lease.name(),
                network.name
            ))),
            None if mac == network.mac() => Err(Error::conflict(format!(
                "the hardware address {mac} is the gateway's (network {})",
                network.name
            ))),
            None => Ok(mac),
        }
    }

    /// A hardware address that follows from the network and the address, so that
    /// neighbours' caches stay right when an address is given again.
    fn mac(&self, network: &Network, address: Option<IpAddr>) -> Mac {
        let mut round = 0_u8;
        loop {
            let text = format!("{} {address:?} {round}", network.id);
            let digest = Sha256::digest(text.as_bytes());
            let mac = Mac([2, digest[0], digest[1], digest[2], digest[3], digest[4]]);
            let taken = mac == network.mac() || self.leases.iter().any(|it| it.mac == mac);
            if !taken || round == u8::MAX {
                return mac;
            }
            round += 1;
        }
    }
}

/// The beginning of the name of a file with leases.
const PREFIX: &str = "leases.";

/// With the kernel's random name of this boot (random(4)).
fn file_name() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let boot = fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    Ok(format!("{PREFIX}{}.json", boot.trim()))
}

//! A guest's network devices: one for each network, and spare ones that are plugged
//! into networks while it runs (virtio-mmio knows no hot-plugging).

use std::os::fd::OwnedFd;

use isola_net::tap::{self, Tap};
use isola_proto::{Interface, Mac};

use crate::error::{Error, Kind, Result};
use crate::links::{Link, Links};

/// Devices without a network, for `network connect`.
const SPARES: usize = 2;

/// A device of the guest.
#[derive(Debug)]
pub(crate) struct Nic {
    /// Descriptors of the tap, one for each pair of queues.
    pub(crate) queues: Vec<OwnedFd>,
    /// Its hardware address, which it keeps whatever the guest shows to others.
    pub(crate) mac: Mac,
    /// Largest packet of its network in bytes.
    pub(crate) mtu: Option<u32>,
    /// How the agent sets it up.
    pub(crate) interface: Interface,
    /// The tap's number on the host.
    index: u32,
    /// The network's id, while it is plugged.
    network: Option<String>,
}

/// Devices for all links, and spares if there are links at all.
///
/// # Errors
/// The taps can't be made.
pub(crate) fn make(links: &Links, vcpus: u32, most: u16) -> Result<Vec<Nic>> {
    let queues = u16::try_from(vcpus).unwrap_or(most).clamp(1, most);
    let mut nics = Vec::new();
    for link in links.all() {
        let (network, lease) = (&link.attached.network, &link.attached.lease);
        let tap = Tap::new(Some(link.attached.bridge), queues, network.mtu)?;
        let default_routes = links.is_default(link);
        nics.push(Nic {
            mac: lease.mac,
            mtu: network.mtu,
            interface: lease.interface(network, &link.interface, None, default_routes),
            index: tap.index,
            network: Some(network.id.clone()),
            queues: tap.queues,
        });
    }
    if nics.is_empty() {
        return Ok(nics);
    }
    for _ in 0..SPARES {
        let tap = Tap::new(None, queues, None)?;
        let mac = random_mac()?;
        nics.push(Nic {
            mac,
            mtu: None,
            interface: spare(mac, nics.len()),
            index: tap.index,
            network: None,
            queues: tap.queues,
        });
    }
    Ok(nics)
}

/// A device that is plugged nowhere; its number among all of them makes the name
/// unique, also for one that was plugged before.
fn spare(mac: Mac, number: usize) -> Interface {
    Interface {
        hardware: mac,
        name: format!("spare{number}"),
        mac: None,
        addresses: Vec::new(),
        gateways: Vec::new(),
        mtu: None,
        up: false,
    }
}

/// A random address, unicast and locally administered.
fn random_mac() -> Result<Mac> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(Kind::System, format!("cannot get random bytes: {error}")))?;
    bytes[0] = bytes[0] & 0xfc | 2;
    Ok(Mac(bytes))
}

/// What is remembered of the devices while the guest runs; the taps themselves are
/// the machine program's alone.
#[derive(Debug, Default)]
pub(crate) struct Plugs(Vec<Plug>);

#[derive(Debug)]
struct Plug {
    mac: Mac,
    index: u32,
    network: Option<String>,
}

impl Plugs {
    /// Of these devices.
    pub(crate) fn of(nics: &[Nic]) -> Plugs {
        let plug = |nic: &Nic| Plug {
            mac: nic.mac,
            index: nic.index,
            network: nic.network.clone(),
        };
        Plugs(nics.iter().map(plug).collect())
    }

    /// Plugs a free device into a link's network.
    ///
    /// # Errors
    /// There is no free one, or the kernel refused.
    pub(crate) fn plug(&mut self, link: &Link, default_routes: bool) -> Result<Interface> {
        let (network, lease) = (&link.attached.network, &link.attached.lease);
        let own = |plug: &Plug| plug.network.as_ref() == Some(&network.id);
        let at = match self.0.iter().position(own) {
            Some(at) => at,
            None => self.free(link)?,
        };
        let hardware = Some(self.0[at].mac);
        Ok(lease.interface(network, &link.interface, hardware, default_routes))
    }

    fn free(&mut self, link: &Link) -> Result<usize> {
        let (network, bridge) = (&link.attached.network, link.attached.bridge);
        let free = |plug: &Plug| plug.network.is_none();
        let Some(at) = self.0.iter().position(free) else {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "the guest has no network device left for the network {}",
                    network.name
                ),
            )
            .hint(format!(
                "a running guest takes {SPARES} more networks; connect it while it is stopped"
            )));
        };
        tap::connect(self.0[at].index, bridge, network.mtu)?;
        self.0[at].network = Some(network.id.clone());
        Ok(at)
    }

    /// Unplugs the device that is in a link's network. Returns how the guest is to
    /// treat it from now on.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn unplug(&mut self, link: &Link) -> Result<Option<Interface>> {
        let network = &link.attached.network.id;
        let own = |plug: &Plug| plug.network.as_ref() == Some(network);
        let Some(at) = self.0.iter().position(own) else {
            return Ok(None);
        };
        let plug = &mut self.0[at];
        tap::disconnect(plug.index)?;
        plug.network = None;
        Ok(Some(spare(plug.mac, at)))
    }
}

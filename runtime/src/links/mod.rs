//! An instance's links to networks, from its start to its end: places in the
//! networks with their addresses, published ports, names. The links themselves
//! (veths, taps) are made by the wall that they lead into ([`crate::backend`]).
//!
//! ```text
//! take      ports reserved -> place in each network recorded, bridge, rules -> names told
//! (start)   the wall makes the links and has their addresses set
//! connect, disconnect      the same for one network while the instance runs
//! give_back names and ports go with their descriptors, then the places
//! ```
//! Whoever finds the record of an instance without a living supervisor gives its
//! places back ([`give_back_of`]); links and rules go with them.

mod names;
mod neighbour;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use isola_net::daemon::Member;
use isola_net::ports::{Held, reserve};
use isola_net::{Attached, InstanceRef, Network as NetworkRecord, Networks, Untidy};

pub use neighbour::Neighbour;

use crate::engine::{Engine, NOTICE};
use crate::error::{Error, Kind, Result};
use crate::state::{Lock, Paths, Record};
use crate::workload::{Attachment, Network};

/// One link.
#[derive(Debug)]
pub struct Link {
    /// The place in the network.
    pub attached: Attached,
    /// The name of its interface in the instance.
    pub interface: String,
    /// The connection to the network's name server.
    member: Option<Member>,
    /// When the name server was last started again.
    tried: Option<Instant>,
    /// When it is to be started again, since it died.
    rejoin_at: Option<Instant>,
}

/// All links of an instance.
#[derive(Debug)]
pub struct Links {
    paths: Paths,
    networks: Option<Networks>,
    instance: InstanceRef,
    links: Vec<Link>,
    held: Vec<Held>,
    neighbour: Option<Neighbour>,
    untidy: Option<Untidy>,
}

impl Links {
    /// Links of an instance that has none and gets none.
    pub fn none(paths: &Paths, record: &Record) -> Links {
        Links {
            paths: paths.clone(),
            networks: None,
            instance: InstanceRef {
                id: record.id.clone(),
                name: record.name.clone(),
            },
            links: Vec::new(),
            held: Vec::new(),
            neighbour: None,
            untidy: None,
        }
    }

    /// Takes what the workload of `record` asks for.
    ///
    /// # Errors
    /// A network that is gone, an address or a port that is in use, an instance whose
    /// network is to be shared and that does not run. Nothing stays taken then.
    pub fn take(paths: &Paths, record: &Record) -> Result<Links> {
        let mut links = Links::none(paths, record);
        let wanted = match &record.workload.network {
            Network::None | Network::Host => return Ok(links),
            Network::Instance(key) => {
                let engine = Engine::open(Some(paths.root()))?;
                links.neighbour = Some(Neighbour::find(&engine, key, record)?);
                return Ok(links);
            }
            Network::Bridged(wanted) => wanted,
        };
        links.networks = Some(Networks::open(paths.root())?);
        // First of all, because this is what fails most.
        let reserved = reserve(&record.workload.ports)?;
        links.held = reserved.sockets;
        let mut ports = Some(reserved.published).filter(|ports| !ports.is_empty());
        for attachment in wanted {
            let network = links.find(&attachment.network)?;
            // They lead to one address: that in the first network with a way in.
            let ports = match network.internal {
                true => Vec::new(),
                false => ports.take().unwrap_or_default(),
            };
            links.attach(record, attachment, &network, ports)?;
        }
        if ports.is_some() && !wanted.is_empty() {
            return Err(Error::new(
                Kind::Invalid,
                "no port can be published: all of the instance's networks are internal",
            ));
        }
        // Now each can be told of all.
        links.tell()?;
        Ok(links)
    }

    fn networks(&self) -> Result<&Networks> {
        self.networks.as_ref().ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                format!("instance {} has no networks of its own", self.instance.name),
            )
        })
    }

    fn find(&self, key: &str) -> Result<NetworkRecord> {
        let networks = self.networks()?;
        match key {
            isola_net::DEFAULT => Ok(networks.ensure_default()?),
            key => Ok(networks.find(key)?),
        }
    }

    fn attach(
        &mut self,
        record: &Record,
        wanted: &Attachment,
        network: &NetworkRecord,
        ports: Vec<isola_net::Published>,
    ) -> Result<()> {
        if self.of(&network.id).is_some() {
            let message = format!(
                "instance {} is connected to the network {} already",
                self.instance.name, network.name
            );
            return Err(Error::new(Kind::Conflict, message));
        }
        let dns = &record.workload.dns;
        let mut aliases = wanted.aliases.clone();
        if !aliases.contains(&record.workload.hostname) {
            aliases.push(record.workload.hostname.clone());
        }
        let asked = isola_net::Attachment {
            ipv4: wanted.ip,
            ipv6: wanted.ip6,
            mac: wanted.mac,
            aliases,
            dns: dns.servers.clone(),
            search: dns.search.clone().unwrap_or_default(),
            ports,
        };
        let instances = self.paths.clone();
        let alive = move |id: &str| {
            // Whoever lives holds its lock.
            matches!(Lock::try_take(&instances.instance(id).lock()), Ok(None))
        };
        let attached = self
            .networks()?
            .attach(network, &self.instance, &asked, &alive)?;
        for notice in &attached.notices {
            eprintln!("{NOTICE}{notice}");
        }
        let interface = self.free_name();
        self.links.push(Link {
            attached,
            interface,
            member: None,
            tried: None,
            rejoin_at: None,
        });
        Ok(())
    }

    /// The first of eth0, eth1... that no link has.
    fn free_name(&self) -> String {
        let taken = |name: &String| self.links.iter().any(|link| link.interface == *name);
        (0..)
            .map(|number| format!("eth{number}"))
            .find(|name| !taken(name))
            .unwrap_or_default()
    }

    /// The links, in the order of their making.
    pub fn all(&self) -> &[Link] {
        &self.links
    }

    /// The link to the network with this id.
    pub fn of(&self, network: &str) -> Option<&Link> {
        self.links
            .iter()
            .find(|link| link.attached.network.id == network)
    }

    /// Whether a link is the one over which everything else goes: the first with a way
    /// out.
    pub fn is_default(&self, link: &Link) -> bool {
        let first = self.links.iter().find(|it| !it.attached.network.internal);
        first.is_some_and(|first| first.interface == link.interface)
    }

    /// The network namespace of another instance that is shared.
    pub fn neighbour(&self) -> Option<&Neighbour> {
        self.neighbour.as_ref()
    }

    /// The network namespace to join instead of a new one.
    ///
    /// # Errors
    /// The descriptor can't be duplicated.
    pub fn namespace(&self) -> std::io::Result<Option<OwnedFd>> {
        let neighbour = self.neighbour.as_ref();
        neighbour
            .map(|neighbour| neighbour.namespace.try_clone())
            .transpose()
    }

    /// Addresses, first network first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let own = self
            .links
            .iter()
            .map(|link| link.attached.lease.addresses());
        match &self.neighbour {
            Some(neighbour) => neighbour.addresses.clone(),
            None => own.flatten().collect(),
        }
    }

    /// Where names are asked for: the networks' gateways, those with a way out first,
    /// because the others know no names but their members'.
    pub fn nameservers(&self) -> Vec<IpAddr> {
        let mut links: Vec<&Link> = self.links.iter().collect();
        links.sort_by_key(|link| link.attached.network.internal);
        let own = links.iter().map(|link| link.attached.network.gateways());
        match &self.neighbour {
            Some(neighbour) => neighbour.nameservers.clone(),
            None => own.flatten().collect(),
        }
    }

    /// The host as the first network with a way out sees it.
    pub fn host_gateway(&self) -> Option<IpAddr> {
        let open = |link: &&Link| !link.attached.network.internal;
        let link = self.links.iter().find(open).or(self.links.first())?;
        link.attached.network.gateways().first().copied()
    }

    /// Takes a place in one more network.
    ///
    /// # Errors
    /// As [`Links::take`]. Nothing of it stays taken then.
    pub fn connect(&mut self, record: &Record, wanted: &Attachment) -> Result<&Link> {
        let network = self.find(&wanted.network)?;
        let count = self.links.len();
        let attached = self.attach(record, wanted, &network, Vec::new());
        if let Err(error) = attached.and_then(|()| self.tell()) {
            if self.links.len() > count {
                let _ = self.disconnect(&network.id);
            }
            return Err(error);
        }
        Ok(&self.links[count])
    }

    /// Gives the place in one network back.
    ///
    /// # Errors
    /// There is none, or the system refused.
    pub fn disconnect(&mut self, network: &str) -> Result<()> {
        let found = self
            .links
            .iter()
            .position(|link| link.attached.network.id == network);
        let Some(at) = found else {
            return Err(Error::new(
                Kind::NoSuch,
                format!(
                    "instance {} is not connected to that network",
                    self.instance.name
                ),
            ));
        };
        let link = self.links.remove(at);
        let ports = &link.attached.lease.ports;
        self.held.retain(|held| !ports.contains(&held.published));
        drop(link.member);
        if let Err(error) = self.tell() {
            eprintln!("isola-supervisor: {error}");
        }
        let networks = self.networks()?;
        Ok(networks.release_from(&link.attached.network, &self.instance.id)?)
    }

    /// Gives everything back. The wall is down already.
    ///
    /// # Errors
    /// The system refused; the next command that looks at the instance goes on.
    pub fn give_back(&mut self) -> Result<()> {
        match (self.let_go(), &self.networks) {
            (true, Some(networks)) => Ok(networks.release(&self.instance.id)?),
            _ => Ok(()),
        }
    }

    /// [`Links::give_back`], but for bridges that nobody is on any more: the kernel
    /// takes tens of milliseconds to remove one, and nobody needs to wait for that.
    /// [`Links::tidy`] has to follow.
    ///
    /// # Errors
    /// As [`Links::give_back`].
    pub fn give_back_places(&mut self) -> Result<()> {
        if let (true, Some(networks)) = (self.let_go(), &self.networks) {
            self.untidy = Some(networks.release_before_tidying(&self.instance.id)?);
        }
        Ok(())
    }

    /// Removes bridges that nobody is on any more.
    ///
    /// # Errors
    /// As [`Links::give_back`].
    pub fn tidy(&mut self) -> Result<()> {
        match (&self.networks, self.untidy.take()) {
            (Some(networks), Some(untidy)) => Ok(networks.tidy(untidy)?),
            _ => Ok(()),
        }
    }

    /// Lets go of what goes with descriptors. Whether the networks still have
    /// something of it.
    fn let_go(&mut self) -> bool {
        self.held.clear();
        self.neighbour = None;
        let linked = !self.links.is_empty();
        self.links.clear();
        linked
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            eprintln!("isola-supervisor: {error}");
        }
    }
}

/// Gives back what the dead supervisor of an instance had of networks; these are
/// returned.
///
/// # Errors
/// The system refused.
pub fn give_back_of(paths: &Paths, record: &Record) -> Result<Vec<NetworkRecord>> {
    let Network::Bridged(wanted) = &record.workload.network else {
        return Ok(Vec::new());
    };
    let networks = Networks::open(paths.root())?;
    networks.release(&record.id)?;
    let left = wanted.iter().map(|it| networks.find(&it.network));
    Ok(left.flatten().collect())
}

/// Removes bridges that a supervisor which was killed at its very end left without
/// members, unless somebody is changing networks now.
///
/// # Errors
/// The system refused.
pub fn tidy_if_free(paths: &Paths) -> Result<()> {
    Ok(Networks::open(paths.root())?.tidy_if_free()?)
}

/// Gives back what an instance whose record is lost had of networks, if anything.
///
/// # Errors
/// The system refused.
pub fn give_back_by_id(paths: &Paths, id: &str) -> Result<()> {
    Ok(Networks::open(paths.root())?.release(id)?)
}

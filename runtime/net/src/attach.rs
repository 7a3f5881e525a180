//! Instances come to networks and leave them: records, bridge and rules together.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use isola_netlink::Socket;
use isola_proto::Mac;

use crate::bridge;
use crate::error::{Error, Result};
use crate::file::sync;
use crate::firewall::{self, Element, Firewall};
use crate::host::Host;
use crate::lease::{InstanceRef, Lease, Leases};
use crate::link;
use crate::ports::Published;
use crate::record::Network;
use crate::store::Networks;

/// What an instance asks of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// `--ip`.
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ipv6: Option<Ipv6Addr>,
    /// `--mac-address`.
    pub mac: Option<Mac>,
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`.
    pub search: Vec<String>,
    /// Ports that lead to it over this network, reserved before
    /// ([`crate::ports::reserve`]).
    pub ports: Vec<Published>,
}

/// Something that was changed about the host and that its owner should be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(String);

impl Notice {
    pub(crate) fn new(text: impl Into<String>) -> Notice {
        Notice(text.into())
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an instance got of a network.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The network as it is now.
    pub network: Network,
    /// Addresses and names.
    pub lease: Lease,
    /// Index of the bridge, for [`crate::link::veth`] and [`crate::tap`].
    pub bridge: u32,
    /// What was changed about the host.
    pub notices: Vec<Notice>,
}

/// What [`Networks::tidy`] has still to do. Holds the socket through which rules went
/// away: the kernel takes them apart some time later, and closing the socket waits
/// for that.
#[derive(Debug)]
pub struct Untidy {
    instance: String,
    _firewall: Firewall,
}

impl Networks {
    /// Gives an instance a place in a network: recorded first, then the bridge and
    /// the rules for it and its published ports are made. On an error nothing of
    /// it stays. `alive` tells whether the instance of an id runs: leases of others
    /// are taken back when addresses are short.
    ///
    /// # Errors
    /// [`crate::Kind::Invalid`]: an address that can't be, ports on an internal
    /// network. [`crate::Kind::Conflict`]: an address in use, none left, the subnet
    /// overlaps a route that came later. [`crate::Kind::NoSuch`]: the network is
    /// gone.
    pub fn attach(
        &self,
        network: &Network,
        instance: &InstanceRef,
        asked: &Attachment,
        alive: &dyn Fn(&str) -> bool,
    ) -> Result<Attached> {
        if network.internal && !asked.ports.is_empty() {
            return Err(Error::invalid(format!(
                "no port can be published from the network {}, which is internal",
                network.name
            )));
        }
        let _lock = self.lock()?;
        let network = self.find(&network.id)?;
        let mut socket = Socket::route()?;
        let network = self.renew(&mut socket, network)?;
        let folder = self.folder(&network);
        let mut leases = Leases::load(&folder)?;
        let lease = leases.give(&network, instance, asked, alive)?;
        leases.save(&folder)?;
        match self.build(&mut socket, &network) {
            Ok((bridge, notices)) => Ok(Attached {
                network,
                lease,
                bridge,
                notices,
            }),
            Err(error) => {
                leases.drop_of(&instance.id);
                drop(leases.save(&folder));
                drop(self.settle(&mut socket, &network));
                Err(error)
            }
        }
    }

    fn build(&self, socket: &mut Socket, network: &Network) -> Result<(u32, Vec<Notice>)> {
        let mut host = Host::lock(socket)?;
        host.reserve(network, &self.folder(network))?;
        let built = bridge::up(socket, &host, network)?;
        drop(host);
        self.rules()?;
        Ok(built)
    }

    /// Chooses subnets anew that the host has got routes into since, as long as
    /// nobody has an address of them and the user did not name them.
    fn renew(&self, socket: &mut Socket, mut network: Network) -> Result<Network> {
        let idle = Leases::load(&self.folder(&network))?.all().is_empty();
        let chosen = network.subnets.iter().all(|part| part.automatic);
        if !idle || !chosen {
            return Ok(network);
        }
        let index = socket.link(&network.bridge)?.map(|link| link.index);
        let mut host = Host::lock(socket)?;
        if host.check(&network, index).is_ok() {
            return Ok(network);
        }
        bridge::down(socket, &network)?;
        for part in &mut network.subnets {
            *part = if part.gateway.is_ipv4() {
                host.choose_v4(&network.id)?
            } else {
                host.choose_v6(&network.id)?
            };
        }
        self.record(&network)?;
        host.reserve(&network, &self.folder(&network))?;
        Ok(network)
    }

    /// Takes an instance's place in one network back, with its link, its rules
    /// and, if it was the last, the bridge. One that has none is no error.
    ///
    /// # Errors
    /// The system refused; calling again goes on.
    pub fn release_from(&self, network: &Network, instance: &str) -> Result<()> {
        let _lock = self.lock()?;
        self.leave(&mut Socket::route()?, network, &|id| id != instance)?;
        self.rules()
    }

    /// Takes an instance's places in all networks back.
    ///
    /// # Errors
    /// As [`Networks::release_from`].
    pub fn release(&self, instance: &str) -> Result<()> {
        self.collect(&|id| id != instance)
    }

    /// [`Networks::release`], but for links and bridges without members, which take
    /// the kernel tens of milliseconds to remove: [`Networks::tidy`] has to follow. A
    /// link goes with its instance's network namespace in any case.
    ///
    /// # Errors
    /// As [`Networks::release_from`].
    pub fn release_before_tidying(&self, instance: &str) -> Result<Untidy> {
        let _lock = self.lock()?;
        for network in self.list()? {
            let folder = self.folder(&network);
            let mut leases = Leases::load(&folder)?;
            if leases.drop_of(instance).is_some() {
                leases.save(&folder)?;
            }
        }
        let mut firewall = Firewall::open(&self.key)?;
        firewall.apply(&self.wanted_rules()?)?;
        Ok(Untidy {
            instance: instance.to_owned(),
            _firewall: firewall,
        })
    }

    /// Removes what [`Networks::release_before_tidying`] left, and the bridges of
    /// networks without members.
    ///
    /// # Errors
    /// As [`Networks::release_from`].
    pub fn tidy(&self, untidy: Untidy) -> Result<()> {
        let instance = untidy.instance.clone();
        drop(untidy);
        let _lock = self.lock()?;
        let mut socket = Socket::route()?;
        for network in self.list()? {
            link::remove(&mut socket, &instance, &network)?;
        }
        self.tidy_locked()
    }

    /// [`Networks::tidy`], unless somebody is changing networks now.
    ///
    /// # Errors
    /// As [`Networks::release_from`].
    pub fn tidy_if_free(&self) -> Result<()> {
        match self.try_lock()? {
            Some(_lock) => self.tidy_locked(),
            None => Ok(()),
        }
    }

    fn tidy_locked(&self) -> Result<()> {
        let mut socket = Socket::route()?;
        for network in self.list()? {
            self.settle(&mut socket, &network)?;
        }
        Ok(())
    }

    /// Takes back what instances that do not run have left: leases, links, rules,
    /// bridges, half-made networks.
    ///
    /// # Errors
    /// The system refused; calling again goes on.
    pub fn collect(&self, alive: &dyn Fn(&str) -> bool) -> Result<()> {
        let _lock = self.lock()?;
        self.sweep(alive)
    }

    /// The leases of a network, of this boot.
    ///
    /// # Errors
    /// They can't be read.
    pub fn leases(&self, network: &Network) -> Result<Vec<Lease>> {
        Ok(Leases::load(&self.folder(network))?.all().to_vec())
    }

    /// [`Networks::collect`] for one who holds the lock.
    pub(crate) fn sweep(&self, alive: &dyn Fn(&str) -> bool) -> Result<()> {
        let mut socket = Socket::route()?;
        for network in self.list()? {
            self.leave(&mut socket, &network, alive)?;
        }
        self.half_made()?;
        self.rules()
    }

    fn leave(
        &self,
        socket: &mut Socket,
        network: &Network,
        alive: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        self.drop_leases(socket, network, alive)?;
        self.settle(socket, network)
    }

    fn drop_leases(
        &self,
        socket: &mut Socket,
        network: &Network,
        alive: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let folder = self.folder(network);
        let mut leases = Leases::load(&folder)?;
        let dead = leases.drop_dead(alive);
        if !dead.is_empty() {
            // Links first: while the lease is there, a crash is found again.
            for lease in &dead {
                link::remove(socket, &lease.instance, network)?;
            }
            leases.save(&folder)?;
        }
        Ok(())
    }

    /// Removes the bridge of a network without members.
    fn settle(&self, socket: &mut Socket, network: &Network) -> Result<()> {
        if Leases::load(&self.folder(network))?.all().is_empty() {
            bridge::down(socket, network)?;
        }
        Ok(())
    }

    /// Removes folders that a crash left: without a record, or out of sight.
    fn half_made(&self) -> Result<()> {
        let entries =
            fs::read_dir(&self.folder).map_err(|error| Error::io("read", &self.folder, error))?;
        let mut changed = false;
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.strip_prefix('.').is_some_and(crate::store::is_id);
            let empty = crate::store::is_id(&name) && !path.join("network.json").exists();
            if hidden || empty {
                fs::remove_dir_all(&path).map_err(|error| Error::io("remove", &path, error))?;
                changed = true;
            }
        }
        if changed { sync(&self.folder) } else { Ok(()) }
    }

    /// Brings the firewall into line with all records of this data root.
    fn rules(&self) -> Result<()> {
        Firewall::open(&self.key)?.apply(&self.wanted_rules()?)
    }

    fn wanted_rules(&self) -> Result<Vec<Element>> {
        let mut wanted = Vec::new();
        for network in self.list()? {
            let leases = Leases::load(&self.folder(&network))?;
            firewall::wanted(&network, leases.all(), &mut wanted);
        }
        Ok(wanted)
    }
}

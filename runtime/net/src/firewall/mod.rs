//! The nftables table `inet isola`: networks and published ports of all data roots
//! of a host. No other table is touched.
//!
//! The table is brought into line with records as a whole: what this data root
//! wants is compared with what is there, and the difference is one transaction.
//! Between reading and writing nobody else can have changed anything: the
//! transaction names the generation that was read and is refused and tried again
//! otherwise. So it does not matter who flushed what meanwhile.

mod message;
mod ruleset;
mod step;

use std::collections::BTreeMap;
use std::net::IpAddr;

use isola_netlink::{Message, Socket};
use netlink_bindings::nftables::{ChainAttrs, Nfgenmsg};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::attach::Notice;
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::ports::Protocol;
use crate::record::Network;
use ruleset::{
    ANY4, ANY6, AT4, AT6, BRIDGES, CHAINS, GATEWAYS4, GATEWAYS6, INTERNAL, ISOLATED, LOOPS,
    MEMBERS4, MEMBERS6, OUTGOING, SETS, TABLE,
};

/// Others change their rules now and then, not all the time.
const TRIES: u32 = 100;

/// Where an element is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    set: &'static str,
    bytes: Vec<u8>,
}

/// An element of a set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    key: Key,
    /// Empty in a set.
    data: Vec<u8>,
    /// `KEY/ID`: data root, then network or instance. Shown as a comment.
    owner: String,
}

/// Adds the elements that a network with its leases needs; none without leases.
pub(crate) fn wanted(network: &Network, leases: &[Lease], all: &mut Vec<Element>) {
    if leases.is_empty() {
        return;
    }
    let mut add = |set, bytes, data, owner: &str| {
        all.push(Element {
            key: Key { set, bytes },
            data,
            owner: owner.to_owned(),
        });
    };
    let mut name = network.bridge.clone().into_bytes();
    name.resize(16, 0);
    let mut sets = vec![BRIDGES];
    sets.push(if network.internal { INTERNAL } else { OUTGOING });
    if network.isolate {
        sets.push(ISOLATED);
    }
    for set in sets {
        add(set, name.clone(), Vec::new(), &network.id);
    }
    add(LOOPS, [&name[..], &name].concat(), Vec::new(), &network.id);
    for gateway in network.gateways() {
        let set = if gateway.is_ipv4() {
            GATEWAYS4
        } else {
            GATEWAYS6
        };
        add(set, octets(gateway), Vec::new(), &network.id);
    }
    for lease in leases {
        for address in lease.addresses() {
            let set = if address.is_ipv4() {
                MEMBERS4
            } else {
                MEMBERS6
            };
            let bytes = [name.clone(), octets(address)].concat();
            add(set, bytes, Vec::new(), &lease.instance);
        }
        for port in &lease.ports {
            for address in lease.addresses() {
                let v4 = address.is_ipv4();
                let at = port.address.filter(|at| !at.is_unspecified());
                // An unspecified address stands for all of its family.
                if port.address.is_some_and(|at| at.is_ipv4() != v4) {
                    continue;
                }
                let mut bytes = at.map(octets).unwrap_or_default();
                bytes.extend([port.protocol.number(), 0, 0, 0]);
                bytes.extend(port.host.to_be_bytes());
                bytes.extend([0; 2]);
                let mut data = octets(address);
                data.extend(port.container.to_be_bytes());
                data.extend([0; 2]);
                let set = match (v4, at.is_some()) {
                    (true, true) => AT4,
                    (true, false) => ANY4,
                    (false, true) => AT6,
                    (false, false) => ANY6,
                };
                add(set, bytes, data, &lease.instance);
            }
        }
    }
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Protocol::Tcp => libc::IPPROTO_TCP as u8,
            Protocol::Udp => libc::IPPROTO_UDP as u8,
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The table, for one data root.
#[derive(Debug)]
pub(crate) struct Firewall {
    socket: Socket,
    key: String,
}

impl Firewall {
    pub(crate) fn open(key: &str) -> Result<Firewall> {
        Ok(Firewall {
            socket: Socket::netfilter()?,
            key: key.to_owned(),
        })
    }

    /// Makes this data root's part of the table what it is to be, and the table
    /// itself if it is absent or damaged. Without any element it is removed.
    pub(crate) fn apply(&mut self, wanted: &[Element]) -> Result<()> {
        for _ in 0..TRIES {
            let generation = message::generation(&mut self.socket)?;
            let changes = match self.changes(wanted) {
                Ok(changes) => changes,
                // It went while it was read.
                Err(error) if error.errno() == Some(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if changes.is_empty() {
                return Ok(());
            }
            let mut batch = vec![message::begin(generation)];
            batch.extend(changes);
            batch.push(message::end());
            match self.socket.transaction("change the firewall", batch) {
                Ok(()) => return Ok(()),
                // ERESTART is not a number for user space, but this one comes.
                Err(error) if error.errno().map(Errno::raw_os_error) == Some(85) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::new(
            crate::error::Kind::System,
            "cannot change the firewall: others change it all the time",
        ))
    }

    fn changes(&mut self, wanted: &[Element]) -> isola_netlink::Result<Vec<Message>> {
        let exists = message::table_exists(&mut self.socket)?;
        if !exists && wanted.is_empty() {
            return Ok(Vec::new());
        }
        let rules = ruleset::rules();
        let version = version(&rules);
        let mut messages = Vec::new();
        let comments = if exists {
            message::rule_comments(&mut self.socket)?
        } else {
            Vec::new()
        };
        let whole = comments.len() == rules.len() && comments.iter().all(|it| *it == version);
        let mut present = Vec::new();
        for set in SETS.iter().filter(|_| exists) {
            match message::elements(&mut self.socket, set.name) {
                Ok(elements) => present.extend(elements),
                // Of an older or a damaged table; it is made below.
                Err(error) if error.errno() == Some(Errno::NOENT) && !whole => {}
                Err(error) => return Err(error),
            }
        }
        let own = format!("{}/", self.key);
        let others = present.iter().any(|it| !it.owner.starts_with(&own));
        if wanted.is_empty() && !others {
            return Ok(vec![message::table(false)]);
        }
        if !whole {
            messages.push(message::table(true));
            messages.extend(SETS.iter().zip(1..).map(|(set, id)| message::set(set, id)));
            messages.extend(CHAINS.iter().map(message::chain));
            if exists {
                messages.push(message::no_rules());
            }
            for (chain, steps) in &rules {
                messages.push(message::rule(chain, steps, &version));
            }
        }
        let (remove, add) = difference(present, wanted, &own);
        messages.extend(message::change(false, remove.iter()));
        messages.extend(message::change(true, add.iter()));
        Ok(messages)
    }
}

/// What is to be removed and added. A key that another has, from a dead instance
/// of another data root, is taken: this one holds the port on the host.
fn difference(
    present: Vec<Element>,
    wanted: &[Element],
    own: &str,
) -> (Vec<Element>, Vec<Element>) {
    let mut missing: BTreeMap<Key, Element> = wanted
        .iter()
        .map(|element| {
            let owner = format!("{own}{}", element.owner);
            let element = Element {
                owner,
                ..element.clone()
            };
            (element.key.clone(), element)
        })
        .collect();
    let mut remove = Vec::new();
    for element in present {
        match missing.get(&element.key) {
            Some(same) if *same == element => drop(missing.remove(&element.key)),
            Some(_) => remove.push(element),
            None if element.owner.starts_with(own) => remove.push(element),
            None => {}
        }
    }
    (remove, missing.into_values().collect())
}

/// Changes with the rules, so that a table of another version is made anew.
fn version(rules: &[(&str, Vec<step::Step>)]) -> String {
    let digest = Sha256::digest(format!("{rules:?}").as_bytes());
    format!("isola {}", hex::encode(&digest[..4]))
}

/// Chains of other tables that drop what is forwarded unless they know it, as
/// `family table chain`: no rule of ours can change that. Worth a warning when
/// instances reach nothing.
///
/// # Errors
/// The kernel refused.
pub fn foreign_drops() -> Result<Vec<Notice>> {
    const FORWARD: u32 = 2;
    let ask = Message::new(
        ((libc::NFNL_SUBSYS_NFTABLES << 8) | libc::NFT_MSG_GETCHAIN) as u16,
        0,
        Nfgenmsg::new().as_slice(),
    );
    let reply = ((libc::NFNL_SUBSYS_NFTABLES << 8) | libc::NFT_MSG_NEWCHAIN) as u16;
    let found = Socket::netfilter()?.list("firewall chains", &ask, reply, |payload| {
        let family = match i32::from(*payload.first()?) {
            libc::NFPROTO_IPV4 => "ip",
            libc::NFPROTO_IPV6 => "ip6",
            libc::NFPROTO_INET => "inet",
            _ => return None,
        };
        let chain = ChainAttrs::new(payload.get(Nfgenmsg::len()..)?);
        let forward = chain.get_hook().ok()?.get_num().ok()? == FORWARD;
        let drops = chain.get_policy().ok()? == libc::NF_DROP as u32;
        let table = chain.get_table().ok()?.to_string_lossy().into_owned();
        let name = chain.get_name().ok()?.to_string_lossy().into_owned();
        (forward && drops && table != TABLE).then(|| {
            Notice::new(format!(
                "the chain {family} {table} {name} of another program drops forwarded packets that it does not know"
            ))
        })
    })?;
    Ok(found)
}

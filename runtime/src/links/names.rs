//! What the networks' name servers are told of an instance, and what is done when one
//! of them dies.
//!
//! A resolver takes the first server's "no such name" as final, and programs that read
//! `resolv.conf` once know nothing of a network that is connected later. So each network's server is told of the
//! servers of the instance's other networks, and asks them on its behalf.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use isola_init::stream::PollSet;
use isola_net::daemon::{Listener, Member, NetdConfig, Registration};

use super::Links;
use crate::engine::helper;
use crate::error::{Error, Kind, Result};

/// A network's name server that dies is started again no more often than so.
const AGAIN: Duration = Duration::from_secs(1);
/// Pause before the first try.
const SOON: Duration = Duration::from_millis(20);
/// The host's resolvers (resolv.conf(5)).
const RESOLVERS: &str = "/etc/resolv.conf";

impl Links {
    /// Tells the networks' name servers who this is and which others there are, as far
    /// as they don't know it.
    pub(super) fn tell(&mut self) -> Result<()> {
        for at in 0..self.links.len() {
            let registration = self.registration(at);
            let updated = match &mut self.links[at].member {
                None => {
                    let member = self.join(at, registration)?;
                    self.links[at].member = Some(member);
                    continue;
                }
                Some(member) if *member.registration() == registration => continue,
                Some(member) => member.update(registration),
            };
            match updated {
                // It died; its successor is told (`dispatch`).
                Ok(()) | Err(isola_net::daemon::Error::Connection { .. }) => {}
                Err(error) => return Err(Error::new(Kind::System, error.to_string())),
            }
        }
        Ok(())
    }

    /// What this instance is to the network of a link.
    fn registration(&self, at: usize) -> Registration {
        let lease = &self.links[at].attached.lease;
        let others = self.links.iter().enumerate().filter(|other| other.0 != at);
        Registration {
            instance: lease.instance.clone(),
            names: lease.names.clone(),
            addresses: lease.addresses(),
            dns: lease.dns.clone(),
            // One is enough: the same process answers on all.
            others: others
                .filter_map(|(_, link)| link.attached.network.gateways().first().copied())
                .collect(),
            outside: self.links.iter().any(|it| !it.attached.network.internal),
        }
    }

    /// Tells a network's name server who this is, and has it relay what the kernel
    /// can't translate.
    fn join(&self, at: usize, registration: Registration) -> Result<Member> {
        let attached = &self.links[at].attached;
        let (network, lease) = (&attached.network, &attached.lease);
        let config = NetdConfig {
            network: network.name.clone(),
            listen: network.gateways(),
            subnets: network.subnets.iter().map(|part| part.subnet).collect(),
            internal: network.internal,
            resolvers: PathBuf::from(RESOLVERS),
        };
        let mut listeners = Vec::new();
        for held in &self.held {
            let ours = lease.ports.contains(&held.published);
            let Some(target) = lease.addresses().first().copied() else {
                continue;
            };
            if !ours || !held.is_relayed(lease) {
                continue;
            }
            listeners.push(Listener {
                protocol: held.published.protocol,
                socket: held
                    .socket
                    .try_clone()
                    .map_err(|error| Error::system("duplicate a descriptor", error))?,
                target: (target, held.published.container).into(),
            });
        }
        let folder = self.networks()?.folder(network);
        let program = helper("isola-netd")?;
        Member::join(&folder, &program, &config, registration, listeners)
            .map_err(|error| Error::new(Kind::System, error.to_string()))
    }

    /// The connections to name servers that live, for poll(2).
    pub fn register(&self, set: &mut PollSet) {
        let living = self.links.iter().filter(|link| link.rejoin_at.is_none());
        for member in living.filter_map(|link| link.member.as_ref()) {
            set.add(member.fd(), true, false);
        }
    }

    /// Starts name servers that died again.
    pub fn dispatch(&mut self, set: &PollSet) {
        let now = Instant::now();
        for link in &mut self.links {
            let Some(member) = &mut link.member else {
                continue;
            };
            match link.rejoin_at {
                None if set.readable(member.fd()) => {
                    let again = link.tried.map(|tried| tried + AGAIN);
                    link.rejoin_at = again.max(Some(now + SOON));
                }
                Some(at) if at <= now => {
                    link.tried = Some(now);
                    link.rejoin_at = match member.rejoin() {
                        Ok(()) => None,
                        Err(error) => {
                            eprintln!("isola-supervisor: {error}");
                            // It may have taken a while.
                            Some(Instant::now() + AGAIN)
                        }
                    };
                }
                _ => {}
            }
        }
    }

    /// When it wants to be dispatched at the latest.
    pub fn timeout(&self) -> Option<Duration> {
        let next = self.links.iter().filter_map(|link| link.rejoin_at).min();
        next.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

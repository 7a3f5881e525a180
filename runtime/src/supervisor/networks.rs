//! Networks that come and go while the workload runs.

use isola_proto::{Failure, Interface, Request};

use crate::error::{Error, Kind, Result};
use crate::workload::{Attachment, name_files};

use super::clients::Address;
use super::{Phase, Supervisor};

impl Supervisor {
    pub(super) fn connect_network(&mut self, from: Address, attachment: &Attachment) {
        if !matches!(self.phase, Phase::Running) {
            return self.refuse(from, "is not running");
        }
        match self.plug(attachment) {
            Ok((network, interface)) => {
                let id = self.query(from);
                self.plugging.insert(id, network);
                self.tell_peer_of_links(id, vec![interface]);
            }
            Err(error) => self.clients.fail(from, error.into()),
        }
    }

    fn plug(&mut self, attachment: &Attachment) -> Result<(String, Interface)> {
        let sandbox = self
            .sandbox
            .as_mut()
            .ok_or_else(|| Error::new(Kind::Conflict, "the wall is down already"))?;
        let mut links = self.links.borrow_mut();
        let network = {
            let link = links.connect(&self.record, attachment)?;
            link.attached.network.id.clone()
        };
        let plugged = links.of(&network).map(|link| {
            let default_routes = links.is_default(link);
            sandbox.plug(link, default_routes)
        });
        match plugged {
            Some(Ok(interface)) => {
                if let Some(link) = links.of(&network) {
                    let joined = &link.attached.network;
                    self.events.network(&self.record, "connect", joined);
                }
                Ok((network, interface))
            }
            Some(Err(error)) => {
                links.disconnect(&network)?;
                Err(error)
            }
            None => Err(Error::new(Kind::System, "the link is gone already")),
        }
    }

    pub(super) fn disconnect_network(&mut self, from: Address, network: &str) {
        if !matches!(self.phase, Phase::Running) {
            return self.refuse(from, "is not running");
        }
        match self.unplug(network) {
            Ok(interfaces) => {
                let id = self.query(from);
                self.tell_peer_of_links(id, interfaces);
            }
            Err(error) => self.clients.fail(from, error.into()),
        }
    }

    /// Links as they are to be now, and the workload's files that tell of them.
    fn tell_peer_of_links(&mut self, id: u32, interfaces: Vec<Interface>) {
        let files = name_files(&self.workload(), &self.surroundings());
        self.to_peer(&Request::Interfaces {
            id,
            interfaces,
            files,
        });
    }

    /// What is to be said to the peer: the freed device, and the link that gives the
    /// default routes from now on.
    fn unplug(&mut self, network: &str) -> Result<Vec<Interface>> {
        let mut links = self.links.borrow_mut();
        let mut interfaces = Vec::new();
        let mut was_default = false;
        if let (Some(sandbox), Some(link)) = (&mut self.sandbox, links.of(network)) {
            was_default = links.is_default(link);
            interfaces.extend(sandbox.unplug(link)?);
        }
        let left = links.of(network).map(|link| link.attached.network.clone());
        links.disconnect(network)?;
        if let Some(left) = left {
            self.events.network(&self.record, "disconnect", &left);
        }
        let next = links.all().iter().find(|link| links.is_default(link));
        if let (Some(sandbox), Some(next), true) = (&mut self.sandbox, next, was_default) {
            interfaces.push(sandbox.replug(next)?);
        }
        Ok(interfaces)
    }

    /// The peer has set a link up.
    pub(super) fn interfaces_done(&mut self, id: u32) {
        self.plugging.remove(&id);
        if let Some(to) = self.queries.remove(&id) {
            self.clients.done(to);
        }
    }

    /// The peer could not: the link goes.
    pub(super) fn interfaces_failed(&mut self, id: u32, failure: &Failure) {
        let Some(network) = self.plugging.remove(&id) else {
            return;
        };
        eprintln!("isola-supervisor: {}", failure.message);
        if let Err(error) = self.unplug(&network) {
            eprintln!("isola-supervisor: {error}");
        }
    }
}

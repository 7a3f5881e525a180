//! Networks of instances that exist already.

use isola_net::Networks;

use crate::control::Command;
use crate::error::{Error, Kind, Result};
use crate::state::{Lock, Record, read_json, write_json};
use crate::workload::{Attachment, Feature, Network, WallCapabilities};

use super::{Engine, Instance};

impl Engine {
    /// Connects an instance to one more network; a running one at once.
    ///
    /// # Errors
    /// No such network, connected already, the address is in use, or the instance has
    /// no networks of its own.
    pub fn connect_network(&self, instance: &Instance, attachment: &Attachment) -> Result<()> {
        let networks = Networks::open(self.paths.root())?;
        let network = match attachment.network.as_str() {
            isola_net::DEFAULT => networks.ensure_default()?,
            key => networks.find(key)?,
        };
        let workload = &instance.record.workload;
        let what = format!("the network {}", network.name);
        WallCapabilities::of(workload.isolation).require(Feature::NetworkBridge, &what)?;
        if bridged(&instance.record)?
            .iter()
            .any(|it| is(&networks, it, &network.id))
        {
            let name = &instance.record.name;
            let message = format!("instance {name} is connected to {what} already");
            return Err(Error::new(Kind::Conflict, message));
        }
        if instance.status.state.is_live() {
            let attachment = attachment.clone();
            self.simple(instance, |channel| Command::Connect {
                channel,
                attachment,
            })?;
        }
        self.change_record(instance, |record| match &mut record.workload.network {
            Network::Bridged(list) => list.push(attachment.clone()),
            other => *other = Network::Bridged(vec![attachment.clone()]),
        })
    }

    /// Takes an instance from a network; a running one at once. With `force` also when
    /// its supervisor can't be asked.
    ///
    /// # Errors
    /// It is not connected to the network.
    pub fn disconnect_network(&self, instance: &Instance, key: &str, force: bool) -> Result<()> {
        let networks = Networks::open(self.paths.root())?;
        // One that was removed by force is still known by its name.
        let network = networks.find(key).ok();
        let id = network
            .as_ref()
            .map_or(key, |network| &network.id)
            .to_owned();
        let connected = |it: &Attachment| it.network == key || is(&networks, it, &id);
        if !bridged(&instance.record)?.iter().any(connected) {
            let name = &instance.record.name;
            return Err(Error::new(
                Kind::NoSuch,
                format!("instance {name} is not connected to the network {key}"),
            ));
        }
        if instance.status.state.is_live() {
            let network = id.clone();
            let asked = self.simple(instance, |channel| Command::Disconnect { channel, network });
            if !force {
                asked?;
            }
        }
        self.change_record(instance, |record| {
            if let Network::Bridged(list) = &mut record.workload.network {
                list.retain(|it| !connected(it));
            }
        })
    }

    /// Changes the record of an instance and tells its supervisor.
    fn change_record(&self, instance: &Instance, change: impl FnOnce(&mut Record)) -> Result<()> {
        let _lock = Lock::wait(&self.paths.lock())?;
        let files = self.files(instance);
        let record: Option<Record> = read_json(&files.config())?;
        let mut record = record.ok_or_else(|| {
            Error::new(
                Kind::NoSuch,
                format!("no such instance: {}", instance.record.name),
            )
        })?;
        change(&mut record);
        write_json(&files.config(), &record)?;
        self.tell_renamed(instance);
        Ok(())
    }

    /// Instances whose records name a network.
    ///
    /// # Errors
    /// The instances can't be read.
    pub fn users_of_network(&self, network: &isola_net::Network) -> Result<Vec<Instance>> {
        let names = |instance: &Instance| match &instance.record.workload.network {
            Network::Bridged(list) => list
                .iter()
                .any(|it| it.network == network.name || it.network == network.id),
            _ => false,
        };
        Ok(self.list()?.into_iter().filter(names).collect())
    }
}

/// The networks that a record names.
fn bridged(record: &Record) -> Result<Vec<Attachment>> {
    match &record.workload.network {
        Network::Bridged(list) => Ok(list.clone()),
        Network::None => Ok(Vec::new()),
        Network::Host | Network::Instance(_) => Err(Error::new(
            Kind::Conflict,
            format!(
                "instance {} shares another's network and can't be connected to one of its own",
                record.name
            ),
        )),
    }
}

fn is(networks: &Networks, attachment: &Attachment, id: &str) -> bool {
    networks
        .find(&attachment.network)
        .is_ok_and(|network| network.id == id)
}

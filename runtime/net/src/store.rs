//! The networks of a data root.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use isola_journal::{Event, Journal, Subject};
use isola_netlink::Socket;
use sha2::{Digest, Sha256};

use crate::bridge;
use crate::error::{Error, Kind, Result};
use crate::file::{Lock, read_json, sync, write_json};
use crate::host::Host;
use crate::lease::Leases;
use crate::plan::{self, NetworkSpec, plan};
use crate::record::{Network, bridge_name};

/// Name of the network that instances get when nothing is said.
pub const DEFAULT: &str = "default";

/// Records under `ROOT/networks`. Every change is made under one lock; reading
/// needs none, since records are replaced as a whole.
#[derive(Clone, Debug)]
pub struct Networks {
    pub(crate) folder: PathBuf,
    /// Tells the data roots of a host apart in what they share.
    pub(crate) key: String,
    /// Where changes are told.
    journal: Journal,
}

impl Networks {
    /// The networks of a data root.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn open(root: &Path) -> Result<Networks> {
        let folder = root.join("networks");
        fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
        let folder = folder
            .canonicalize()
            .map_err(|error| Error::io("find", &folder, error))?;
        let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
        Ok(Networks {
            key: hex::encode(&digest[..6]),
            folder,
            journal: Journal::of(root),
        })
    }

    /// Makes a network with the meaning that `docker network create` gives to the
    /// same words. Subnets that are not said are chosen: private, and neither in
    /// use by another network of this host nor overlapping one of its routes.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: the specification can't be. [`Kind::Conflict`]: the name
    /// or the addresses are taken.
    pub fn create(&self, spec: &NetworkSpec) -> Result<Network> {
        plan::name(&spec.name)?;
        let _lock = self.lock()?;
        if self.list()?.iter().any(|other| other.name == spec.name) {
            return Err(Error::conflict(format!(
                "there is a network {} already",
                spec.name
            )));
        }
        self.make(spec)
    }

    /// The network [`DEFAULT`], made when it is not there.
    ///
    /// # Errors
    /// No subnet is free, or the system refused.
    pub fn ensure_default(&self) -> Result<Network> {
        let _lock = self.lock()?;
        if let Some(network) = self.list()?.into_iter().find(|other| other.name == DEFAULT) {
            return Ok(network);
        }
        self.make(&NetworkSpec {
            name: DEFAULT.to_owned(),
            ..NetworkSpec::default()
        })
    }

    fn make(&self, spec: &NetworkSpec) -> Result<Network> {
        let plan = plan(spec)?;
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|error| Error::new(Kind::System, format!("cannot draw an id: {error}")))?;
        let id = hex::encode(random);
        let mut host = Host::lock(&mut Socket::route()?)?;
        host.tidy();
        let mut subnets = vec![match plan.v4 {
            Some(part) => part,
            None => host.choose_v4(&id)?,
        }];
        if plan.ipv6 {
            subnets.push(match plan.v6 {
                Some(part) => part,
                None => host.choose_v6(&id)?,
            });
        }
        let network = Network {
            name: spec.name.clone(),
            created_ms: now_ms(),
            driver: "bridge".to_owned(),
            bridge: bridge_name(&id),
            subnets,
            ipv6: plan.ipv6,
            internal: spec.internal,
            labels: spec.labels.clone(),
            mtu: plan.mtu,
            isolate: plan.isolate,
            id,
        };
        host.check(&network, None)?;
        // The record is what makes the folder a network: a crash before it leaves
        // an empty folder, which collect() removes.
        let folder = self.folder(&network);
        fs::create_dir(&folder).map_err(|error| Error::io("make", &folder, error))?;
        self.record(&network)?;
        sync(&self.folder)?;
        host.reserve(&network, &folder)?;
        self.tell("create", &network);
        Ok(network)
    }

    /// Something happened to a network.
    fn tell(&self, action: &str, network: &Network) {
        let attributes = [("name", &network.name), ("type", &network.driver)];
        let event = Event::now(Subject::Network, action, &network.id);
        self.journal.tell(&event.with(attributes));
    }

    pub(crate) fn record(&self, network: &Network) -> Result<()> {
        write_json(&self.folder(network).join("network.json"), network)
    }

    /// All networks, by age.
    ///
    /// # Errors
    /// A record can't be read.
    pub fn list(&self) -> Result<Vec<Network>> {
        let entries =
            fs::read_dir(&self.folder).map_err(|error| Error::io("read", &self.folder, error))?;
        let mut all = Vec::new();
        for entry in entries.flatten() {
            if is_id(&entry.file_name().to_string_lossy()) {
                all.extend(read_json::<Network>(&entry.path().join("network.json"))?);
            }
        }
        all.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        Ok(all)
    }

    /// The network of a name, of an id, or of the beginning of one id.
    ///
    /// # Errors
    /// [`Kind::NoSuch`], or [`Kind::Conflict`] when several ids begin so.
    pub fn find(&self, key: &str) -> Result<Network> {
        let all = self.list()?;
        if let Some(network) = all.iter().find(|it| it.name == key || it.id == key) {
            return Ok(network.clone());
        }
        let mut begins = all
            .iter()
            .filter(|network| !key.is_empty() && network.id.starts_with(key));
        match (begins.next(), begins.next()) {
            (Some(network), None) => Ok(network.clone()),
            (Some(_), Some(_)) => Err(Error::conflict(format!(
                "several networks have an id that begins with {key}"
            ))),
            (None, _) => Err(Error::new(Kind::NoSuch, format!("no such network: {key}"))
                .hint("`isola network ls` lists them")),
        }
    }

    /// Removes a network with its bridge. `user` names an instance that refers to
    /// it, if there is one; `alive` tells whether an instance's id runs.
    ///
    /// # Errors
    /// [`Kind::Conflict`]: an instance is attached or refers to it, or it is the
    /// default network while it is in use.
    pub fn remove(
        &self,
        network: &Network,
        user: &dyn Fn(&Network) -> Option<String>,
        alive: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let _lock = self.lock()?;
        let mut leases = Leases::load(&self.folder(network))?;
        leases.drop_dead(alive);
        let attached = leases.all().first().map(|lease| lease.name().to_owned());
        if let Some(instance) = attached.or_else(|| user(network)) {
            return Err(Error::conflict(format!(
                "the network {} is used by {instance}",
                network.name
            ))
            .hint("remove or disconnect its instances first"));
        }
        leases.save(&self.folder(network))?;
        self.sweep(alive)?;
        let mut socket = Socket::route()?;
        let mut host = Host::lock(&mut socket)?;
        bridge::down(&mut socket, network)?;
        // Out of sight in one step, then deleted.
        let folder = self.folder(network);
        let gone = self.folder.join(format!(".{}", network.id));
        fs::rename(&folder, &gone).map_err(|error| Error::io("remove", &folder, error))?;
        sync(&self.folder)?;
        host.free(&network.id);
        self.tell("destroy", network);
        fs::remove_dir_all(&gone).map_err(|error| Error::io("remove", &gone, error))
    }

    /// Removes every network without instances but the default one. Returns them.
    ///
    /// # Errors
    /// The system refused.
    pub fn prune(
        &self,
        user: &dyn Fn(&Network) -> Option<String>,
        alive: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Network>> {
        let mut removed = Vec::new();
        for network in self.list()? {
            if network.name == DEFAULT {
                continue;
            }
            match self.remove(&network, user, alive) {
                Ok(()) => removed.push(network),
                Err(error) if error.kind == Kind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// The folder of a network, also for its name server's socket.
    pub fn folder(&self, network: &Network) -> PathBuf {
        self.folder.join(&network.id)
    }

    pub(crate) fn lock(&self) -> Result<Lock> {
        Lock::wait(&self.folder.join("lock"))
    }

    pub(crate) fn try_lock(&self) -> Result<Option<Lock>> {
        Lock::try_take(&self.folder.join("lock"))
    }
}

pub(crate) fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|c| c.is_ascii_hexdigit())
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
}

//! What is there of a project.

use std::collections::BTreeMap;

use isola_net::Networks;
use isola_runtime::Result;
use isola_runtime::engine::{Engine, Instance};
use isola_runtime::state::State;
use isola_runtime::workload::Network;
use isola_volume::Volumes;

use super::Until;
use crate::label;

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// Instances of the project, one-off ones too, by service and number.
    pub instances: Vec<Here>,
    /// Labels of all networks, by name.
    pub networks: BTreeMap<String, BTreeMap<String, String>>,
    /// Labels of all volumes, by name.
    pub volumes: BTreeMap<String, BTreeMap<String, String>>,
    /// Ids of images, by the names that services give.
    pub images: BTreeMap<String, String>,
}

/// An instance of a project.
#[derive(Clone, Debug)]
pub struct Here {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Its number.
    pub number: u32,
    /// It was made by `run`.
    pub one_off: bool,
    /// Hash of the configuration it was made from.
    pub hash: String,
    /// Hash of its secrets and configs.
    pub contents: Option<String>,
    /// Digest of its image.
    pub image_id: String,
    /// Its image's name.
    pub image: String,
    /// Where it is in its life.
    pub state: State,
    /// What it depends on.
    pub depends_on: Vec<Needed>,
    /// Names of the networks that it is in.
    pub networks: Vec<String>,
}

/// A service that an instance depends on, as its label says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The service.
    pub service: String,
    /// What has to be waited for.
    pub until: Option<Until>,
    /// Whether it is restarted with that service.
    pub restart: bool,
}

impl Needed {
    fn parse(text: &str) -> Needed {
        let mut words = text.split(':');
        let service = words.next().unwrap_or_default().to_owned();
        let until = match words.next() {
            Some("service_healthy") => Some(Until::Healthy),
            Some("service_completed_successfully") => Some(Until::Completed),
            _ => None,
        };
        Needed {
            service,
            until,
            restart: words.next() == Some("true"),
        }
    }
}

impl Here {
    /// Whether it depends on a service.
    pub fn needs(&self, service: &str) -> bool {
        self.depends_on
            .iter()
            .any(|needed| needed.service == service)
    }

    /// An instance, if it belongs to a project.
    pub fn of(instance: &Instance) -> Option<Here> {
        let workload = &instance.record.workload;
        let label = |key: &str| workload.labels.get(key).cloned();
        label(label::PROJECT)?;
        let depends = label(label::DEPENDS_ON).unwrap_or_default();
        let words = depends.split(',').filter(|word| !word.is_empty());
        Some(Here {
            id: instance.record.id.clone(),
            name: instance.record.name.clone(),
            service: label(label::SERVICE).unwrap_or_default(),
            number: label(label::NUMBER)?.parse().unwrap_or(0),
            one_off: label(label::ONE_OFF).as_deref() == Some("True"),
            hash: label(label::HASH).unwrap_or_default(),
            contents: label(label::CONTENTS),
            image_id: workload.image_id.clone(),
            image: workload.image.clone(),
            state: instance.status.state,
            networks: match &workload.network {
                Network::Bridged(links) => links.iter().map(|link| link.network.clone()).collect(),
                _ => Vec::new(),
            },
            depends_on: words.map(Needed::parse).collect(),
        })
    }
}

impl Present {
    /// What is there of the project called `name`.
    ///
    /// # Errors
    /// Records can't be read.
    pub fn read(engine: &Engine, name: &str) -> Result<Present> {
        let root = engine.paths().root();
        let mine = |instance: &Instance| {
            let project = instance.record.workload.labels.get(label::PROJECT);
            project.is_some_and(|project| project == name)
        };
        let all = engine.list()?;
        let mut instances: Vec<Here> = all
            .iter()
            .filter(|instance| mine(instance))
            .filter_map(Here::of)
            .collect();
        instances
            .sort_by(|a, b| (&a.service, a.number, &a.name).cmp(&(&b.service, b.number, &b.name)));
        let networks = Networks::open(root)?.list()?;
        let volumes = Volumes::open(root)?.list()?;
        Ok(Present {
            instances,
            networks: networks
                .into_iter()
                .map(|it| (it.name, it.labels))
                .collect(),
            volumes: volumes
                .volumes
                .into_iter()
                .map(|it| (it.name, it.labels))
                .collect(),
            images: BTreeMap::new(),
        })
    }

    /// Instances of a service, by number, without one-off ones.
    pub fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Here> {
        self.instances
            .iter()
            .filter(move |here| here.service == service && !here.one_off)
    }
}

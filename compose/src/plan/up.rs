//! The plan of `up`, `create` and `scale`.

mod service;

use std::collections::{BTreeMap, BTreeSet};

use super::scale::{Choice, choose};
use super::{Here, Plan, Present, Recreate, Until, What, Wish};
use crate::label;
use crate::load::Model;
use crate::options::{content_hash, image};
use crate::project::{Project, Service};

/// What has to be done so that the project is up as wished.
pub fn up(model: &Model, project: &Project, present: &Present, wish: &Wish) -> Plan {
    let mut up = Up {
        model,
        project,
        present,
        wish,
        plan: Plan::default(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        services: BTreeMap::new(),
        awaits: BTreeMap::new(),
        stops: BTreeMap::new(),
        removals: BTreeMap::new(),
    };
    up.orphans();
    let replaced = up.outdated_volumes();
    let order = up.order();
    let choices: BTreeMap<&str, Choice<'_>> = order
        .iter()
        .map(|name| (*name, up.choice(name, &replaced)))
        .collect();
    up.networks(&choices);
    up.volumes(&choices, &replaced);
    for name in &order {
        up.service(name, &choices);
    }
    if wish.wait && !wish.no_start {
        for name in up.order() {
            let service = up.project.services.get(name);
            if service.is_some_and(|service| up.count(name, service) > 0) {
                up.await_service(name, Until::Up, false);
            }
        }
    }
    up.plan
}

struct Up<'a> {
    model: &'a Model,
    project: &'a Project,
    present: &'a Present,
    wish: &'a Wish,
    plan: Plan,
    /// Steps that make what a key names.
    networks: BTreeMap<String, usize>,
    volumes: BTreeMap<String, usize>,
    /// Steps of services that were planned.
    services: BTreeMap<String, Steps>,
    /// Steps that wait for services.
    awaits: BTreeMap<(String, Until, bool), usize>,
    /// Steps that stop or remove instances, by id.
    stops: BTreeMap<String, usize>,
    removals: BTreeMap<String, usize>,
}

/// Steps of one service.
#[derive(Default)]
struct Steps {
    creates: Vec<usize>,
    starts: Vec<usize>,
    /// It gets other instances than it had.
    renewed: bool,
}

impl<'a> Up<'a> {
    /// Services in the order of their dependencies.
    fn order(&self) -> Vec<&'a str> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in self.project.services.keys() {
            self.visit(name, &mut seen, &mut order);
        }
        order
    }

    fn visit(&self, name: &'a str, seen: &mut BTreeSet<&'a str>, order: &mut Vec<&'a str>) {
        let Some((name, service)) = self.project.services.get_key_value(name) else {
            return;
        };
        if !self.is_meant(name) || !seen.insert(name) {
            return;
        }
        for other in service.depends_on.keys() {
            self.visit(other, seen, order);
        }
        order.push(name);
    }

    fn is_named(&self, name: &str) -> bool {
        self.wish.services.is_empty() || self.wish.services.iter().any(|it| it == name)
    }

    fn is_meant(&self, name: &str) -> bool {
        !self.wish.no_deps || self.is_named(name)
    }

    fn count(&self, name: &str, service: &Service) -> u32 {
        let said = self.wish.scale.get(name).copied();
        said.unwrap_or_else(|| service.replicas())
    }

    /// Instances of services that no file has.
    fn orphans(&mut self) {
        let known = |here: &Here| self.model.all_services.contains(&here.service);
        let orphans: Vec<&Here> = self
            .present
            .instances
            .iter()
            .filter(|here| !here.one_off && !known(here))
            .collect();
        if !self.wish.remove_orphans {
            self.plan.orphans = orphans.iter().map(|here| here.name.clone()).collect();
            return;
        }
        for here in orphans {
            self.remove(here, false, []);
        }
    }

    /// Volumes whose configuration has changed: their keys.
    fn outdated_volumes(&mut self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (key, volume) in &self.project.volumes {
            let Some(labels) = self.present.volumes.get(&volume.name) else {
                continue;
            };
            let hash = self.model.resource_hash("volumes", key);
            let changed = labels.get(label::HASH).is_some_and(|had| *had != hash);
            if volume.external || !changed || labels.get(label::PROJECT) != Some(&self.project.name)
            {
                continue;
            }
            match self.wish.replace_volumes {
                true => drop(found.insert(key.clone())),
                false => self.plan.outdated_volumes.push(volume.name.clone()),
            }
        }
        found
    }

    fn choice(&self, name: &'a str, replaced: &BTreeSet<String>) -> Choice<'a> {
        let here: Vec<&Here> = self.present.of(name).collect();
        let Some(service) = self.project.services.get(name) else {
            return Choice::default();
        };
        let policy = match self.is_named(name) {
            true => self.wish.recreate,
            false => self.wish.recreate_dependencies,
        };
        let hash = self.model.hash(name).unwrap_or_default();
        let contents = content_hash(self.model, self.project, service);
        let image = self.present.images.get(&image(self.project, name, service));
        let has_replaced = service.volumes.iter().any(|mount| {
            mount
                .source
                .as_ref()
                .is_some_and(|key| replaced.contains(key))
        });
        let outdated = |here: &Here| match policy {
            _ if has_replaced => true,
            Recreate::Never => false,
            Recreate::Always => true,
            Recreate::Changed => {
                here.hash != hash
                    || here.contents != contents
                    || image.is_some_and(|image| *image != here.image_id)
            }
        };
        choose(&here, self.count(name, service), outdated)
    }

    /// Networks that are not there, or are to be other than they are: then all
    /// instances in them are stopped first.
    fn networks(&mut self, choices: &BTreeMap<&str, Choice<'_>>) {
        let used: BTreeSet<&String> = choices
            .keys()
            .filter_map(|name| self.project.services.get(*name))
            .flat_map(|service| service.networks.keys())
            .collect();
        for (key, network) in &self.project.networks {
            if network.external || !(self.wish.unused || used.contains(key)) {
                continue;
            }
            let Some(labels) = self.present.networks.get(&network.name) else {
                let step = self.plan.add(What::CreateNetwork(key.clone()), []);
                self.networks.insert(key.clone(), step);
                continue;
            };
            let hash = self.model.resource_hash("networks", key);
            let changed = labels.get(label::HASH).is_some_and(|had| *had != hash);
            let own = labels.get(label::PROJECT) == Some(&self.project.name);
            if !own || !changed {
                continue;
            }
            let members: Vec<&Here> = self
                .present
                .instances
                .iter()
                .filter(|here| here.networks.contains(&network.name))
                .collect();
            let stops: Vec<usize> = members
                .iter()
                .filter_map(|here| self.stop(here, []))
                .collect();
            let gone = self
                .plan
                .add(What::RemoveNetwork(network.name.clone()), stops);
            let step = self.plan.add(What::CreateNetwork(key.clone()), [gone]);
            self.networks.insert(key.clone(), step);
            // Those that nobody asked about come back as they were.
            let others = members
                .iter()
                .filter(|here| here.one_off || !choices.contains_key(here.service.as_str()));
            for here in others.filter(|here| here.state.is_live()) {
                if self.removals.contains_key(&here.id) {
                    continue;
                }
                let what = What::Start {
                    service: here.service.clone(),
                    name: here.name.clone(),
                };
                self.plan.add(what, [step]);
            }
        }
    }

    fn volumes(&mut self, choices: &BTreeMap<&str, Choice<'_>>, replaced: &BTreeSet<String>) {
        for (key, volume) in &self.project.volumes {
            if volume.external {
                continue;
            }
            let users: Vec<&str> = choices
                .keys()
                .filter(|name| {
                    let service = self.project.services.get(**name);
                    let mounts = service.into_iter().flat_map(|service| &service.volumes);
                    mounts
                        .filter(|mount| mount.kind == "volume")
                        .any(|mount| mount.source.as_ref() == Some(key))
                })
                .copied()
                .collect();
            if users.is_empty() && !self.wish.unused {
                continue;
            }
            if replaced.contains(key) {
                let mut gone = Vec::new();
                for here in users.iter().flat_map(|name| self.present.of(name)) {
                    gone.push(self.remove(here, false, []));
                }
                let gone = self.plan.add(What::RemoveVolume(volume.name.clone()), gone);
                let step = self.plan.add(What::CreateVolume(key.clone()), [gone]);
                self.volumes.insert(key.clone(), step);
            } else if !self.present.volumes.contains_key(&volume.name) {
                let step = self.plan.add(What::CreateVolume(key.clone()), []);
                self.volumes.insert(key.clone(), step);
            }
        }
    }

    /// Stops an instance that lives, once.
    fn stop(&mut self, here: &Here, after: impl IntoIterator<Item = usize>) -> Option<usize> {
        if !here.state.is_live() {
            return None;
        }
        if let Some(step) = self.stops.get(&here.id) {
            return Some(*step);
        }
        let what = What::Stop {
            service: here.service.clone(),
            name: here.name.clone(),
            id: here.id.clone(),
        };
        let step = self.plan.add(what, after);
        self.stops.insert(here.id.clone(), step);
        Some(step)
    }

    /// Stops and removes an instance, once.
    fn remove(
        &mut self,
        here: &Here,
        volumes: bool,
        after: impl IntoIterator<Item = usize>,
    ) -> usize {
        if let Some(step) = self.removals.get(&here.id) {
            return *step;
        }
        let stop = self.stop(here, after);
        let what = What::Remove {
            name: here.name.clone(),
            id: here.id.clone(),
            volumes,
        };
        let step = self.plan.add(what, stop);
        self.removals.insert(here.id.clone(), step);
        step
    }
}

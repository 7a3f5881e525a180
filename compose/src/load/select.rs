//! Which services are on: by their profiles, or because they are named; and
//! which networks, volumes and so on they leave in use.

use std::collections::BTreeSet;

use super::{Loader, Located, Result};
use crate::diagnostic::{Diagnostic, hint_among};
use crate::yaml::{Map, Node};

/// Profiles that services name, in order.
pub(super) fn all_profiles(tree: &Node) -> Vec<String> {
    let services = tree.get("services").and_then(Node::as_map);
    let services = services.into_iter().flat_map(Map::values);
    let profiles: BTreeSet<String> = services.flat_map(|entry| profiles(&entry.node)).collect();
    profiles.into_iter().collect()
}

/// Names of all services, in order.
pub(super) fn all_services(tree: &Node) -> Vec<String> {
    let services = tree.get("services").and_then(Node::as_map);
    let mut names: Vec<String> = services.into_iter().flat_map(Map::keys).cloned().collect();
    names.sort();
    names
}

fn profiles(service: &Node) -> Vec<String> {
    texts(service, "profiles")
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn texts<'a>(node: &'a Node, key: &str) -> Vec<&'a str> {
    let list = node.get(key).and_then(Node::as_list).unwrap_or_default();
    list.iter().filter_map(Node::as_text).collect()
}

fn keys<'a>(node: &'a Node, key: &str) -> Vec<&'a str> {
    let map = node.get(key).and_then(Node::as_map);
    map.into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect()
}

impl Loader<'_> {
    pub(super) fn select(&mut self, tree: &mut Node, located: &Located) -> Result<()> {
        let mut active: BTreeSet<String> = self.request.profiles.iter().cloned().collect();
        if active.is_empty()
            && let Some(list) = located.environment.get("COMPOSE_PROFILES")
        {
            let words = list
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty());
            active = words.map(str::to_owned).collect();
        }
        let Some(services) = tree.get("services").and_then(Node::as_map) else {
            let message = "no service is in the compose file";
            let hint = "write `services:` and under it a name and an image";
            return Err(self.sink.stop(Diagnostic::outside(message, hint)));
        };
        for name in &self.request.services {
            let Some(entry) = services.get(name) else {
                let message = format!("no such service: {name}");
                let names: Vec<&str> = services.keys().map(String::as_str).collect();
                return Err(self
                    .sink
                    .stop(Diagnostic::outside(message, hint_among(name, names))));
            };
            // Who names a service wants its profiles.
            active.extend(profiles(&entry.node));
        }
        let every = active.contains("*");
        let on = |service: &Node| {
            let profiles = profiles(service);
            every || profiles.is_empty() || profiles.iter().any(|profile| active.contains(profile))
        };
        let mut kept: BTreeSet<String> = services
            .iter()
            .filter(|(_, entry)| on(&entry.node))
            .map(|(name, _)| name.clone())
            .collect();
        if !self.request.services.is_empty() {
            kept = with_dependencies(&self.request.services, services)
                .into_iter()
                .filter(|name| kept.contains(name) || !services.contains_key(name))
                .collect();
        }
        self.drop_dependencies(tree, &kept);
        if let Some(services) = tree.get_mut("services").and_then(Node::as_map_mut) {
            services.retain(|name, _| kept.contains(name));
        }
        Ok(())
    }

    /// Dependencies on services that are off: optional ones go, others are
    /// errors.
    fn drop_dependencies(&mut self, tree: &mut Node, kept: &BTreeSet<String>) {
        let Some(services) = tree.get_mut("services").and_then(Node::as_map_mut) else {
            return;
        };
        let known: BTreeSet<String> = services.keys().cloned().collect();
        for (name, entry) in services.iter_mut().filter(|(name, _)| kept.contains(*name)) {
            let Some(dependencies) = entry.node.get_mut("depends_on").and_then(Node::as_map_mut)
            else {
                continue;
            };
            dependencies.retain(|other, entry| {
                if kept.contains(other) || !known.contains(other) {
                    return true;
                }
                let required = entry
                    .node
                    .get("required")
                    .is_none_or(|required| required.data != crate::yaml::Data::Bool(false));
                if required && self.request.consistency {
                    let message = format!(
                        "services.{name}: depends on `{other}`, which its profiles turn off"
                    );
                    let hint = "turn it on by --profile, or write `required: false`";
                    self.sink.error(entry.key, message, hint);
                }
                required && !self.request.consistency
            });
            if dependencies.is_empty() {
                entry.node.remove("depends_on");
            }
        }
    }

    /// Takes out what no service uses.
    pub(super) fn drop_unused(&mut self, tree: &mut Node) {
        let mut used: [BTreeSet<String>; 5] = Default::default();
        let sections = ["networks", "volumes", "secrets", "configs", "models"];
        let services = tree.get("services").and_then(Node::as_map);
        for entry in services.into_iter().flat_map(Map::values) {
            let service = &entry.node;
            let sources = |node: &Node, key: &str| -> Vec<String> {
                let list = node.get(key).and_then(Node::as_list).unwrap_or_default();
                let source = |node: &Node| node.text_at("source").map(str::to_owned);
                list.iter().filter_map(source).collect()
            };
            let names = |key: &str| keys(service, key).into_iter().map(str::to_owned);
            used[0].extend(names("networks"));
            used[1].extend(sources(service, "volumes"));
            used[2].extend(sources(service, "secrets"));
            used[2].extend(
                service
                    .get("build")
                    .map_or(Vec::new(), |build| sources(build, "secrets")),
            );
            used[3].extend(sources(service, "configs"));
            used[4].extend(names("models"));
        }
        for (section, used) in sections.into_iter().zip(&used) {
            let Some(map) = tree.get_mut(section).and_then(Node::as_map_mut) else {
                continue;
            };
            map.retain(|name, _| used.contains(name));
            if map.is_empty() {
                tree.remove(section);
            }
        }
    }
}

fn with_dependencies(names: &[String], services: &Map) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest: Vec<String> = names.to_vec();
    while let Some(name) = rest.pop() {
        let Some(entry) = services.get(&name) else {
            continue;
        };
        rest.extend(
            keys(&entry.node, "depends_on")
                .into_iter()
                .map(str::to_owned),
        );
        if !found.insert(name) {
            // Circles are told later; here they only must end.
            rest.retain(|name| !found.contains(name));
        }
    }
    found
}

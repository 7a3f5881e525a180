//! What a file leaves out is written in: defaults, names outside of the project,
//! dependencies that other attributes imply, variables from files.

use super::{Loader, Located, Result};
use crate::diagnostic::{Diagnostic, Place};
use crate::yaml::{Data, Entry, Map, Node};

impl Loader<'_> {
    /// Dependencies that are written short or only implied.
    pub(super) fn complete_services(&mut self, tree: &mut Node) {
        let services = tree.get_mut("services").and_then(Node::as_map_mut);
        for entry in services.into_iter().flat_map(Map::values_mut) {
            implied_dependencies(&mut entry.node);
            let dependencies = entry.node.get_mut("depends_on").and_then(Node::as_map_mut);
            for entry in dependencies.into_iter().flat_map(Map::values_mut) {
                if entry.node.get("required").is_none() {
                    let required = Node::new(Data::Bool(true), entry.node.place);
                    entry.node.set("required", required);
                }
            }
        }
    }

    pub(super) fn finish(&mut self, tree: &mut Node, name: &str, located: &Located) -> Result<()> {
        let place = tree
            .get("services")
            .map(|node| node.place)
            .unwrap_or_default();
        tree.set("name", Node::text(name, place));
        let mut default = false;
        let services = tree.get_mut("services").and_then(Node::as_map_mut);
        for (key, entry) in services.into_iter().flatten() {
            if self.request.normalize {
                default |= finish_service(&mut entry.node, located);
            }
            if self.request.interpolate && self.request.resolve_env {
                self.service_variables(key, &mut entry.node, located)?;
            }
        }
        if default {
            let empty = || Node::new(Data::Map(Map::new()), place);
            if tree.get("networks").is_none() {
                tree.set("networks", empty());
            }
            if let Some(networks) = tree.get_mut("networks").and_then(Node::as_map_mut) {
                let entry = Entry {
                    key: place,
                    node: empty(),
                };
                networks.entry("default".into()).or_insert(entry);
            }
        }
        if self.request.consistency {
            crate::consistency::references(tree, &mut self.sink);
        }
        if !self.request.unused {
            self.drop_unused(tree);
        }
        let sections = ["networks", "volumes", "secrets", "configs"];
        for section in sections.iter().filter(|_| self.request.normalize) {
            let map = tree.get_mut(section).and_then(Node::as_map_mut);
            for (key, entry) in map.into_iter().flatten() {
                name_resource(key, &mut entry.node, name);
                if self.request.resolve_paths {
                    local_device(section, &mut entry.node, located);
                }
            }
        }
        self.sink.check()
    }

    /// `env_file` under `environment`, `label_file` under `labels`; names without
    /// a value get that of the environment.
    fn service_variables(
        &mut self,
        name: &str,
        service: &mut Node,
        located: &Located,
    ) -> Result<()> {
        let files = service.remove("env_file");
        let files = files.as_ref().and_then(Node::as_list).unwrap_or_default();
        let mut variables = Map::new();
        for file in files {
            self.read_variables(name, file, located, &mut variables)?;
        }
        if let Some(Node {
            data: Data::Map(own),
            ..
        }) = service.remove("environment")
        {
            variables.extend(own);
        }
        resolve_absent(&mut variables, located);
        set_map(service, "environment", variables);

        let files = service.remove("label_file");
        let files = files.as_ref().and_then(Node::as_list).unwrap_or_default();
        let mut labels = Map::new();
        for file in files {
            self.read_variables(name, file, located, &mut labels)?;
        }
        if let Some(Node {
            data: Data::Map(own),
            ..
        }) = service.remove("labels")
        {
            labels.extend(own);
        }
        set_map(service, "labels", labels);

        let build = service.get_mut("build");
        let args = build
            .and_then(|build| build.get_mut("args"))
            .and_then(Node::as_map_mut);
        if let Some(args) = args {
            resolve_absent(args, located);
        }
        Ok(())
    }

    fn read_variables(
        &mut self,
        service: &str,
        file: &Node,
        located: &Located,
        variables: &mut Map,
    ) -> Result<()> {
        let path = file
            .as_text()
            .or_else(|| file.text_at("path"))
            .unwrap_or_default();
        let required = file
            .get("required")
            .is_none_or(|node| node.data != Data::Bool(false));
        let path = &located.directory.join(path);
        if !self.files.is_file(path) {
            if !required {
                return Ok(());
            }
            let message = format!(
                "services.{service}: the file {} is not there",
                path.display()
            );
            let hint = "paths start in the project's folder; `required: false` makes it optional";
            return Err(self.sink.stop(Diagnostic::error(file.place, message, hint)));
        }
        let raw = file.text_at("format") == Some("raw");
        let before: Map = variables.clone();
        let outer = |name: &str| {
            let own = located.environment.get(name).cloned();
            own.or_else(|| before.get(name)?.node.as_text().map(str::to_owned))
        };
        for (name, value) in self.env_file(path, &outer, raw)? {
            let node = match value {
                Some(value) => Node::text(value, file.place),
                None => continue,
            };
            variables.insert(
                name,
                Entry {
                    key: file.place,
                    node,
                },
            );
        }
        Ok(())
    }
}

fn set_map(service: &mut Node, key: &str, map: Map) {
    if !map.is_empty() {
        let place = map
            .values()
            .next()
            .map(|entry| entry.key)
            .unwrap_or_default();
        service.set(key, Node::new(Data::Map(map), place));
    }
}

fn resolve_absent(variables: &mut Map, located: &Located) {
    for (name, entry) in variables {
        if entry.node.is_null()
            && let Some(value) = located.environment.get(name)
        {
            entry.node.data = Data::Text(value.clone());
        }
    }
}

/// `links`, namespaces of other services and `volumes_from` need those services.
fn implied_dependencies(service: &mut Node) {
    let mut implied: Vec<(String, Place, bool)> = Vec::new();
    let first = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    let list = |key: &str| service.get(key).and_then(Node::as_list).unwrap_or_default();
    for link in list("links") {
        implied.extend(link.as_text().map(|text| (first(text), link.place, true)));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(node) = service.get(key)
            && let Some(other) = node
                .as_text()
                .and_then(|text| text.strip_prefix("service:"))
        {
            implied.push((other.to_owned(), node.place, true));
        }
    }
    for node in list("volumes_from") {
        let text = node
            .as_text()
            .filter(|text| !text.starts_with("container:"));
        implied.extend(text.map(|text| (first(text), node.place, false)));
    }
    if implied.is_empty() {
        return;
    }
    if service.get("depends_on").is_none() {
        let place = implied[0].1;
        service.set("depends_on", Node::new(Data::Map(Map::new()), place));
    }
    let Some(dependencies) = service.get_mut("depends_on").and_then(Node::as_map_mut) else {
        return;
    };
    for (name, place, restart) in implied {
        let condition = ("condition", Node::text("service_started", place));
        let required = ("required", Node::new(Data::Bool(true), place));
        let restarts = ("restart", Node::new(Data::Bool(true), place));
        let node = match restart {
            true => Node::record(place, [condition, restarts, required]),
            false => Node::record(place, [condition, required]),
        };
        dependencies
            .entry(name)
            .or_insert(Entry { key: place, node });
    }
}

/// Gives whether it is in the default network.
fn finish_service(service: &mut Node, located: &Located) -> bool {
    for key in ["command", "entrypoint", "pid", "develop", "deploy"] {
        if service.get(key).is_some_and(Node::is_null) {
            service.remove(key);
        }
    }
    let place = service.place;
    if let Some(build) = service.get_mut("build") {
        let place = build.place;
        if build.get("context").is_none() {
            let context = located.directory.to_string_lossy();
            build.set("context", Node::text(context, place));
        }
        if build.get("dockerfile").is_none() && build.get("dockerfile_inline").is_none() {
            build.set("dockerfile", Node::text("Dockerfile", place));
        }
    }
    items(service, "secrets", |secret| {
        if secret.get("target").is_none()
            && let Some(source) = secret.text_at("source")
        {
            let target = format!("/run/secrets/{source}");
            secret.set("target", Node::text(target, secret.place));
        }
    });
    items(service, "devices", |device| {
        let place = device.place;
        if device.get("target").is_none()
            && let Some(source) = device.get("source").cloned()
        {
            device.set("target", source);
        }
        if device.get("permissions").is_none() {
            device.set("permissions", Node::text("rwm", place));
        }
    });
    let alone = service.get("network_mode").is_some() || service.get("provider").is_some();
    let networks = service.get("networks").and_then(Node::as_map);
    if networks.is_some_and(|networks| !networks.is_empty()) {
        return networks.is_some_and(|networks| networks.contains_key("default"));
    }
    if alone {
        return false;
    }
    let null = Node::new(Data::Null, place);
    service.set("networks", Node::record(place, [("default", null)]));
    true
}

fn items(service: &mut Node, key: &str, visit: impl FnMut(&mut Node)) {
    if let Some(Node {
        data: Data::List(list),
        ..
    }) = service.get_mut(key)
    {
        list.iter_mut().for_each(visit);
    }
}

/// Names outside of the project: `PROJECT_NAME`, or the name alone for what is
/// there already.
fn name_resource(key: &str, node: &mut Node, project: &str) {
    let place = node.place;
    if node.is_null() {
        *node = Node::new(Data::Map(Map::new()), place);
    }
    if node.get("name").is_none() {
        let external = node
            .get("external")
            .is_some_and(|external| external.data == Data::Bool(true));
        let name = match external {
            true => key.to_owned(),
            false => format!("{project}_{key}"),
        };
        node.set("name", Node::text(name, place));
    }
}

/// A local volume that is really a folder of the host: its path is absolute.
fn local_device(section: &str, node: &mut Node, located: &Located) {
    let options = node.get_mut("driver_opts").filter(|_| section == "volumes");
    let Some(options) = options else {
        return;
    };
    let bind = options
        .text_at("o")
        .is_some_and(|o| o.split(',').any(|option| option == "bind"));
    let home = located.environment.get("HOME").map(String::as_str);
    if bind
        && let Some(device) = options.get_mut("device")
        && let Some(text) = device.as_text()
    {
        let path = crate::forms::absolute(&located.directory, home, text);
        device.data = Data::Text(path.to_string_lossy().into_owned());
    }
}

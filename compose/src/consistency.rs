//! Whether the parts of a project fit each other: what is named is there, what
//! must be single is, nothing goes in a circle. No other part looks at two
//! services at once.

mod graph;
mod namespaces;
mod ports;

use std::collections::HashMap;

pub(crate) use graph::build_circles;

use crate::diagnostic::{Place, Sink, hint_among};
use crate::yaml::{Data, Node};

/// What services name must be declared. Asked before what is unused goes away.
pub(crate) fn references(tree: &Node, sink: &mut Sink) {
    let mut check = |service: &str, section: &str, name: &str, place: Place| {
        let declared = tree.get(section).and_then(Node::as_map);
        if declared.is_some_and(|declared| declared.contains_key(name)) {
            return;
        }
        let kind = section.trim_end_matches('s');
        let message = format!("services.{service}: the {kind} `{name}` is not declared");
        let hint = match declared.filter(|declared| !declared.is_empty()) {
            Some(declared) => {
                let names: Vec<&str> = declared.keys().map(String::as_str).collect();
                hint_among(name, names)
            }
            None => format!("declare it at the top level: `{section}: {{{name}: }}`"),
        };
        sink.error(place, message, hint);
    };
    for (name, entry) in services(tree) {
        let service = &entry.node;
        for (key, section) in [
            ("networks", "networks"),
            ("models", "models"),
            ("depends_on", "services"),
        ] {
            for (other, entry) in service
                .get(key)
                .and_then(Node::as_map)
                .into_iter()
                .flatten()
            {
                check(name, section, other, entry.key);
            }
        }
        let build = service.get("build");
        let lists = [
            (service.get("secrets"), "secrets"),
            (service.get("configs"), "configs"),
            (build.and_then(|build| build.get("secrets")), "secrets"),
        ];
        for (list, section) in lists {
            for node in list.and_then(Node::as_list).unwrap_or_default() {
                if let Some(source) = node.text_at("source") {
                    check(name, section, source, node.place);
                }
            }
        }
        for node in service
            .get("volumes")
            .and_then(Node::as_list)
            .unwrap_or_default()
        {
            if node.text_at("type") == Some("volume")
                && let Some(source) = node.text_at("source")
            {
                check(name, "volumes", source, node.place);
            }
        }
    }
}

fn services(tree: &Node) -> impl Iterator<Item = (&String, &crate::yaml::Entry)> {
    tree.get("services")
        .and_then(Node::as_map)
        .into_iter()
        .flatten()
}

fn truth(node: &Node, key: &str) -> bool {
    node.get(key)
        .is_some_and(|node| node.data == Data::Bool(true))
}

/// Everything else.
pub(crate) fn check(tree: &Node, sink: &mut Sink) {
    for (name, entry) in services(tree) {
        let mut tell = |place: Place, message: &str, hint: &str| {
            sink.error(place, format!("services.{name}: {message}"), hint);
        };
        image(&entry.node, entry.key, &mut tell);
        limits(&entry.node, &mut tell);
        networks(&entry.node, &mut tell);
        namespaces::check(tree, &entry.node, &mut tell);
        mounts(&entry.node, &mut tell);
        health(&entry.node, &mut tell);
    }
    container_names(tree, sink);
    dependencies_health(tree, sink);
    contents(tree, sink);
    graph::circles(tree, sink);
    ports::collisions(tree, sink);
}

type Tell<'a> = &'a mut dyn FnMut(Place, &str, &str);

fn image(service: &Node, place: Place, tell: Tell<'_>) {
    // A variable that is not set leaves an empty text.
    let has = |key: &str| {
        service
            .get(key)
            .is_some_and(|node| node.as_text() != Some(""))
    };
    if !has("image") && !has("build") && !has("provider") {
        tell(
            place,
            "it has neither an image nor a build",
            "write `image: NAME` or `build: FOLDER`",
        );
    }
    if let Some(build) = service.get("build")
        && let (Some(_), Some(inline)) = (build.get("dockerfile"), build.get("dockerfile_inline"))
    {
        tell(
            inline.place,
            "`dockerfile` and `dockerfile_inline` exclude each other",
            "keep one of them",
        );
    }
    for node in service
        .get("develop")
        .and_then(|node| node.get("watch"))
        .and_then(Node::as_list)
        .unwrap_or_default()
    {
        let sync = node
            .text_at("action")
            .is_some_and(|action| action.starts_with("sync"));
        if sync && node.get("target").is_none() {
            tell(
                node.place,
                "a rule that syncs needs a target",
                "write `target: /path/within`",
            );
        }
    }
}

/// What can be said in two places must be the same in both.
fn limits(service: &Node, tell: Tell<'_>) {
    const TWICE: &[(&str, &[&str])] = &[
        ("scale", &["replicas"]),
        ("mem_limit", &["resources", "limits", "memory"]),
        ("mem_reservation", &["resources", "reservations", "memory"]),
        ("cpus", &["resources", "limits", "cpus"]),
        ("pids_limit", &["resources", "limits", "pids"]),
    ];
    let Some(deploy) = service.get("deploy") else {
        return;
    };
    for (key, path) in TWICE {
        let other = path.iter().try_fold(deploy, |node, key| node.get(key));
        if let (Some(own), Some(other)) = (service.get(key), other)
            && own.data != other.data
        {
            let message = format!("`{key}` and `deploy.{}` differ", path.join("."));
            tell(own.place, &message, "keep one of them");
        }
    }
}

fn networks(service: &Node, tell: Tell<'_>) {
    let Some(mode) = service.get("network_mode") else {
        return;
    };
    if let Some(networks) = service.get("networks") {
        tell(
            networks.place,
            "`network_mode` and `networks` exclude each other",
            "keep one of them",
        );
    }
    let text = mode.as_text().unwrap_or_default();
    let shared = text == "host" || text.starts_with("service:") || text.starts_with("container:");
    if let Some(ports) = service
        .get("ports")
        .filter(|ports| shared && ports.as_list() != Some(&[]))
    {
        let message = format!("ports can't be published with `network_mode: {text}`");
        tell(
            ports.place,
            &message,
            "it has the ports of the network that it joins; take `ports` away",
        );
    }
}

fn mounts(service: &Node, tell: Tell<'_>) {
    for node in service
        .get("volumes")
        .and_then(Node::as_list)
        .unwrap_or_default()
    {
        let kind = node.text_at("type").unwrap_or_default();
        match (kind, node.get("source")) {
            ("bind" | "image", None) => {
                let message = format!("a volume of type {kind} needs a source");
                tell(node.place, &message, "write `source: ...`");
            }
            ("tmpfs", Some(source)) => {
                tell(
                    source.place,
                    "a volume of type tmpfs has no source",
                    "take it away",
                );
            }
            ("cluster" | "npipe", _) => {
                let message = format!("volumes of type {kind} are not supported");
                tell(
                    node.place,
                    &message,
                    "there are bind, volume, tmpfs and image",
                );
            }
            _ => {}
        }
        for other in ["bind", "volume", "tmpfs", "image"] {
            if let Some(options) = node
                .get(other)
                .filter(|_| other != kind && !kind.is_empty())
            {
                let message = format!("options of `{other}` for a volume of type {kind}");
                tell(
                    options.place,
                    &message,
                    "take them away, or change the type",
                );
            }
        }
    }
}

fn health(service: &Node, tell: Tell<'_>) {
    let Some(check) = service.get("healthcheck") else {
        return;
    };
    if let (true, Some(test)) = (truth(check, "disable"), check.get("test")) {
        let none = test
            .as_list()
            .and_then(|list| list.first())
            .and_then(Node::as_text);
        if none != Some("NONE") {
            tell(
                test.place,
                "a health check that is disabled has a test",
                "keep one of them",
            );
        }
    }
}

/// Two services can't have one name, and a service with several instances none.
fn container_names(tree: &Node, sink: &mut Sink) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for (name, entry) in services(tree) {
        let Some(node) = entry.node.get("container_name") else {
            continue;
        };
        let text = node.as_text().unwrap_or_default();
        if let Some(other) = seen.insert(text, name) {
            let message =
                format!("services.{name}: the container_name {text:?} is that of `{other}`, too");
            sink.error(
                node.place,
                message,
                "give each its own, or none: then it has the service's",
            );
        }
        if replicas(&entry.node) > 1 {
            let message = format!(
                "services.{name}: several instances can't share the container_name {text:?}"
            );
            sink.error(
                node.place,
                message,
                "take it away: instances are then numbered",
            );
        }
    }
}

fn replicas(service: &Node) -> i64 {
    let deploy = service
        .get("deploy")
        .and_then(|deploy| deploy.get("replicas"));
    match service.get("scale").or(deploy).map(|node| &node.data) {
        Some(Data::Int(count)) => *count,
        _ => 1,
    }
}

/// A dependency on the health of a service whose check is switched off would
/// wait for ever.
fn dependencies_health(tree: &Node, sink: &mut Sink) {
    let off = |service: &Node| {
        let check = service.get("healthcheck")?;
        let first = check.get("test")?.as_list()?.first()?.as_text()?;
        Some(first == "NONE")
    };
    let off = |name: &str| {
        let service = tree.get("services").and_then(|services| services.get(name));
        service.is_some_and(|service| {
            let disabled = service
                .get("healthcheck")
                .is_some_and(|check| truth(check, "disable"));
            disabled || off(service) == Some(true)
        })
    };
    for (name, entry) in services(tree) {
        for (other, entry) in entry
            .node
            .get("depends_on")
            .and_then(Node::as_map)
            .into_iter()
            .flatten()
        {
            if entry.node.text_at("condition") == Some("service_healthy") && off(other) {
                let message = format!(
                    "services.{name}: waits for the health of `{other}`, whose check is off"
                );
                sink.error(
                    entry.node.place,
                    message,
                    "give it a health check, or wait for service_started",
                );
            }
        }
    }
}

/// Secrets and configs have one source.
fn contents(tree: &Node, sink: &mut Sink) {
    for (section, kind) in [("secrets", "secret"), ("configs", "config")] {
        for (name, entry) in tree
            .get(section)
            .and_then(Node::as_map)
            .into_iter()
            .flatten()
        {
            let sources = ["file", "environment", "content"];
            let given: Vec<&str> = sources
                .into_iter()
                .filter(|key| entry.node.get(key).is_some())
                .collect();
            let external = truth(&entry.node, "external");
            let driver = entry
                .node
                .get("driver")
                .or_else(|| entry.node.get("template_driver"));
            if let Some(driver) = driver {
                let message = format!("{section}.{name}: drivers of {section} are not supported");
                sink.error(
                    driver.place,
                    message,
                    "give it by file, environment or content",
                );
            }
            match (given.len(), external) {
                (1, false) | (0, true) => {}
                (0, false) => {
                    let message = format!("{section}.{name}: the {kind} has no content");
                    sink.error(
                        entry.key,
                        message,
                        "give it by file, environment or content",
                    );
                }
                (_, true) => {
                    let message =
                        format!("{section}.{name}: an external {kind} has no `{}`", given[0]);
                    sink.error(entry.key, message, "keep one of them");
                }
                _ => {
                    let message = format!(
                        "{section}.{name}: {} exclude each other",
                        given.join(" and ")
                    );
                    sink.error(entry.key, message, "keep one of them");
                }
            }
        }
    }
}

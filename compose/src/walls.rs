//! Which wall each service is behind, and what that wall can't do. All of it is
//! known before anything is started.

mod namespaces;

use isola_runtime::workload::Isolation;

use crate::diagnostic::{Diagnostic, Sink, Stop, hint_among};
use crate::yaml::{Data, Node};

/// Runtimes of Docker and Podman that put up a wall like one of ours.
const RUNTIMES: &[(&str, Isolation)] = &[
    ("kata", Isolation::Vm),
    ("io.containerd.kata", Isolation::Vm),
    ("krun", Isolation::Vm),
    ("crun-vm", Isolation::Vm),
    ("crun-krun", Isolation::Vm),
    ("io.containerd.runc.v2", Isolation::Container),
    ("runc", Isolation::Container),
    ("crun", Isolation::Container),
    ("youki", Isolation::Container),
];

/// Reads `isolation`, `x-isolation` and `runtime`, puts `--as` above them, and
/// writes what comes of it as `isolation`.
pub(crate) fn apply(tree: &mut Node, flags: &[String], sink: &mut Sink) -> Result<(), Stop> {
    let assigned = assignments(flags).map_err(|diagnostic| sink.stop(diagnostic))?;
    let Some(services) = tree.get_mut("services").and_then(Node::as_map_mut) else {
        return Ok(());
    };
    for (service, _) in assigned
        .iter()
        .filter_map(|(service, walls)| Some((service.as_ref()?, walls)))
    {
        if !services.contains_key(service) {
            let names: Vec<&str> = services.keys().map(String::as_str).collect();
            let message = format!("--as {service}: no such service");
            return Err(sink.stop(Diagnostic::outside(message, hint_among(service, names))));
        }
    }
    for (name, entry) in services {
        let own = assigned
            .iter()
            .find(|(service, _)| service.as_ref() == Some(name));
        let all = || assigned.iter().find(|(service, _)| service.is_none());
        let forced = own.or_else(all).map(|(_, walls)| walls.as_str());
        one(name, &mut entry.node, forced, sink);
    }
    Ok(())
}

/// Services with their walls; no service: all. `db=vm,emulated,cache=container`
/// has two: a wall belongs to the service before it.
fn assignments(flags: &[String]) -> Result<Vec<(Option<String>, String)>, Diagnostic> {
    let mut found: Vec<(Option<String>, String)> = Vec::new();
    for flag in flags {
        let start = found.len();
        for word in flag.split(',') {
            match (word.split_once('='), found.len() > start) {
                (Some((service, wall)), _) => {
                    found.push((Some(service.trim().to_owned()), wall.to_owned()))
                }
                (None, false) => found.push((None, word.to_owned())),
                (None, true) => {
                    if let Some((_, walls)) = found.last_mut() {
                        walls.push(',');
                        walls.push_str(word);
                    }
                }
            }
        }
    }
    for (_, walls) in &mut found {
        let parsed = Isolation::parse_list("--as", walls).map_err(|error| {
            let hint = "write --as vm, or --as db=vm,cache=container";
            Diagnostic::outside(error.message, hint)
        })?;
        let names: Vec<&str> = parsed.into_iter().map(Isolation::name).collect();
        *walls = names.join(",");
    }
    // The last one counts.
    found.reverse();
    Ok(found)
}

fn one(name: &str, service: &mut Node, forced: Option<&str>, sink: &mut Sink) {
    let extension = service.remove("x-isolation");
    let runtime = service.remove("runtime");
    if let Some(forced) = forced {
        service.set("isolation", Node::text(forced, service.place));
        return;
    }
    let written = service
        .get("isolation")
        .filter(|node| node.as_text() != Some("default"))
        .cloned();
    let extension = extension.and_then(|node| extension_walls(name, &node, sink));
    let runtime = runtime.and_then(|node| runtime_wall(name, &node, sink));
    let mut choices: Vec<(&str, Node)> = Vec::new();
    choices.extend(written.map(|node| ("isolation", node)));
    choices.extend(extension.map(|node| ("x-isolation", node)));
    choices.extend(runtime.clone().map(|node| ("runtime", node)));
    if let [(first, a), rest @ ..] = choices.as_slice()
        && let Some((second, b)) = rest.iter().find(|(_, b)| b.as_text() != a.as_text())
    {
        let (a_wall, b_wall) = (
            a.as_text().unwrap_or_default(),
            b.as_text().unwrap_or_default(),
        );
        let message =
            format!("services.{name}: `{first}` says {a_wall} and `{second}` says {b_wall}");
        sink.error(
            b.place,
            message,
            "keep one of them, or say it from outside by --as",
        );
        return;
    }
    match choices.into_iter().next() {
        Some((_, walls)) => {
            if let Some(runtime) = runtime {
                let wall = runtime.as_text().unwrap_or_default().to_owned();
                let message = format!("services.{name}: `runtime` is read as the wall {wall}");
                sink.note(
                    runtime.place,
                    message,
                    format!("write `isolation: {wall}` to say so"),
                );
            }
            service.set("isolation", walls);
        }
        None => {
            service.remove("isolation");
        }
    }
}

/// Extensions are not checked with the file, so this one is checked here.
fn extension_walls(name: &str, node: &Node, sink: &mut Sink) -> Option<Node> {
    let text = match &node.data {
        Data::List(list) => list
            .iter()
            .map(Node::as_text)
            .collect::<Option<Vec<_>>>()?
            .join(","),
        _ => node.as_text().unwrap_or_default().to_owned(),
    };
    match Isolation::parse_list("x-isolation", &text) {
        Ok(walls) => {
            let names: Vec<&str> = walls.into_iter().map(Isolation::name).collect();
            Some(Node::text(names.join(","), node.place))
        }
        Err(error) => {
            let hint = "there are container, vm and emulated, or a list of them";
            sink.error(
                node.place,
                format!("services.{name}: {}", error.message),
                hint,
            );
            None
        }
    }
}

/// A runtime that is not known would be some other wall: without it the service
/// might be less well kept in than its author meant.
fn runtime_wall(name: &str, node: &Node, sink: &mut Sink) -> Option<Node> {
    let text = node.as_text().unwrap_or_default();
    let known = RUNTIMES.iter().find(|(runtime, wall)| {
        let variant = text.strip_prefix(runtime).unwrap_or("?");
        // kata-qemu, kata-fc, io.containerd.kata.v2
        variant.is_empty() || *wall == Isolation::Vm && variant.starts_with(['-', '.'])
    });
    if let Some((_, wall)) = known {
        return Some(Node::text(wall.name(), node.place));
    }
    let hint = match text {
        "runsc" | "io.containerd.runsc.v1" => {
            "gVisor is not here; `isolation: vm` keeps a service in at least as well"
        }
        _ => "write `isolation: container` or `isolation: vm` instead",
    };
    sink.error(
        node.place,
        format!("services.{name}: the runtime {text:?} is not here"),
        hint,
    );
    None
}

/// Attributes that have no effect here.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("models", "language models are not run"),
    ("use_api_socket", "there is no daemon, so no socket of it"),
    ("credential_spec", "it is for Windows"),
    ("cpu_count", "it is for Windows; `cpus` limits CPUs"),
    ("cpu_percent", "it is for Windows; `cpus` limits CPUs"),
    ("cpu_rt_period", "real-time budgets are not set"),
    ("cpu_rt_runtime", "real-time budgets are not set"),
    ("storage_opt", "it is for storage drivers of Docker"),
    (
        "mem_swappiness",
        "not all hosts have it; there is `isola run --memory-swappiness`",
    ),
    (
        "oom_kill_disable",
        "not all hosts have it; there is `isola run --oom-kill-disable`",
    ),
];

const WITHOUT_EFFECT_IN_DEPLOY: &[&str] = &[
    "placement",
    "update_config",
    "rollback_config",
    "endpoint_mode",
];

/// Warns about what has no effect and refuses what the service's walls can't do.
pub(crate) fn check(tree: &Node, default: &[Isolation], sink: &mut Sink) {
    let services = tree.get("services").and_then(Node::as_map);
    for (name, entry) in services.into_iter().flatten() {
        without_effect(name, &entry.node, sink);
        if let Some(provider) = entry.node.get("provider") {
            let message = format!("services.{name}: services of a provider are not supported");
            let hint = "without it the others would miss something; start it by hand and take it out of the file";
            sink.error(provider.place, message, hint);
        }
        match guest_wall(&entry.node, default) {
            Some(wall) => guest(name, &entry.node, wall, sink),
            None => namespaces::mixed(name, &entry.node, services, default, sink),
        }
    }
}

/// The first wall with a kernel of its own that the service may get.
fn guest_wall(service: &Node, default: &[Isolation]) -> Option<Isolation> {
    let written = service
        .text_at("isolation")
        .filter(|text| *text != "default");
    let walls = match written {
        Some(text) => Isolation::parse_list("isolation", text).unwrap_or_default(),
        None => default.to_vec(),
    };
    walls.into_iter().find(|wall| *wall != Isolation::Container)
}

/// Keys within attributes that have no effect here.
const WITHIN: &[(&str, &[&str], &str)] = &[(
    "networks",
    &["gw_priority", "interface_name", "driver_opts"],
    "interfaces are called eth0 and so on, and the first network has the way out",
)];

/// Keys of `deploy`, deeper within.
const DEEP: &[(&[&str], &str)] = &[
    (
        &["restart_policy", "delay"],
        "waits between starts grow by themselves",
    ),
    (
        &["restart_policy", "window"],
        "a run of ten seconds counts as good",
    ),
    (
        &["resources", "reservations", "cpus"],
        "`cpu_shares` weighs services against each other",
    ),
    (
        &["resources", "reservations", "generic_resources"],
        "it is for clusters; this is one host",
    ),
];

fn small_things(name: &str, service: &Node, sink: &mut Sink) {
    for (key, path_keys, reason) in WITHIN {
        let entries = service.get(key).and_then(Node::as_map);
        for (entry, value) in entries.into_iter().flatten() {
            for inner in *path_keys {
                if let Some(node) = value.node.get(inner) {
                    let message = format!("services.{name}.{key}.{entry}.{inner} has no effect");
                    sink.warn(node.place, message, *reason);
                }
            }
        }
    }
    for (path, reason) in DEEP {
        let deploy = service.get("deploy");
        let found = path
            .iter()
            .fold(deploy, |node, key| node.and_then(|node| node.get(key)));
        if let Some(node) = found {
            let message = format!("services.{name}.deploy.{} has no effect", path.join("."));
            sink.warn(node.place, message, *reason);
        }
    }
    for mount in service
        .get("volumes")
        .and_then(Node::as_list)
        .unwrap_or_default()
    {
        if let Some(node) = mount.get("bind").and_then(|bind| bind.get("selinux")) {
            let message = format!("services.{name}: `selinux` of a volume has no effect");
            sink.warn(
                node.place,
                message,
                "labels of the host's files are not changed",
            );
        }
    }
    if let Some(node) = service.get("pull_refresh_after")
        && service.text_at("pull_policy") != Some("refresh")
    {
        let message = format!("services.{name}.pull_refresh_after has no effect");
        sink.warn(node.place, message, "it goes with `pull_policy: refresh`");
    }
    log_options(name, service, sink);
}

/// Options of log drivers that would ask for something else than sizes.
fn log_options(name: &str, service: &Node, sink: &mut Sink) {
    let options = service
        .get("logging")
        .and_then(|logging| logging.get("options"))
        .and_then(Node::as_map);
    for (key, entry) in options.into_iter().flatten() {
        if !matches!(key.as_str(), "max-size" | "max-file") {
            let message = format!("services.{name}.logging.options.{key} has no effect");
            sink.warn(entry.key, message, "there are max-size and max-file");
        }
    }
}

fn without_effect(name: &str, service: &Node, sink: &mut Sink) {
    let off = |node: &Node| matches!(node.data, Data::Bool(false) | Data::Int(-1));
    for (key, reason) in WITHOUT_EFFECT {
        if let Some(node) = service.get(key).filter(|node| !off(node)) {
            let message = format!("services.{name}.{key} has no effect");
            sink.warn(node.place, message, *reason);
        }
    }
    small_things(name, service, sink);
    let deploy = service.get("deploy");
    for key in WITHOUT_EFFECT_IN_DEPLOY {
        if let Some(node) = deploy.and_then(|deploy| deploy.get(key)) {
            let message = format!("services.{name}.deploy.{key} has no effect");
            sink.warn(node.place, message, "it is for clusters; this is one host");
        }
    }
    let logging = service
        .get("logging")
        .and_then(|logging| logging.get("driver"));
    if let Some(driver) = logging
        && let Some(text) = driver.as_text()
        && !matches!(text, "json-file" | "local" | "none")
    {
        let message = format!(
            "services.{name}: the log driver {text:?} is not here; logs are kept as by json-file"
        );
        sink.warn(driver.place, message, "there are json-file, local and none");
    }
}

/// What a guest can't have.
fn guest(name: &str, service: &Node, wall: Isolation, sink: &mut Sink) {
    let mut refuse = |node: &Node, what: String, why: &str| {
        let message = format!("services.{name}: {what} can't be had behind the wall {wall}: {why}");
        sink.error(
            node.place,
            message,
            "take it away, or write `isolation: container`",
        );
    };
    namespaces::guest(service, &mut refuse);
    for key in ["devices", "gpus", "device_cgroup_rules"] {
        if let Some(node) = service.get(key).filter(|node| node.as_list() != Some(&[])) {
            let why = "a guest's kernel does not drive the host's devices";
            refuse(node, format!("`{key}`"), why);
        }
    }
    let reserved = ["deploy", "resources", "reservations", "devices"];
    let devices = reserved.iter().try_fold(service, |node, key| node.get(key));
    if let Some(node) = devices {
        let why = "a guest's kernel does not drive the host's devices";
        refuse(node, "`deploy.resources.reservations.devices`".into(), why);
    }
}

#[cfg(test)]
mod tests {
    use super::assignments;

    #[test]
    fn walls_from_outside() {
        let show = |flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            match assignments(&flags) {
                Ok(found) => {
                    let found: Vec<String> = found
                        .into_iter()
                        .map(|(service, walls)| format!("{}:{walls}", service.unwrap_or_default()))
                        .collect();
                    found.join(" ")
                }
                Err(diagnostic) => diagnostic.message,
            }
        };
        assert_eq!(show(&["vm"]), ":vm");
        assert_eq!(show(&["vm,emulated"]), ":vm,emulated");
        assert_eq!(show(&["db=vm,cache=container"]), "cache:container db:vm");
        assert_eq!(
            show(&["db=vm,emulated,cache=container"]),
            "cache:container db:vm,emulated"
        );
        assert_eq!(show(&["vm", "db=container"]), "db:container :vm");
        assert!(show(&["db=wm"]).contains("no such wall"));
        assert!(show(&[""]).contains("no such wall"));
    }
}

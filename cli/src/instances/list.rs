//! Rows of `ps`, and which instances are listed.

use isola_runtime::engine::Instance;
use isola_runtime::state::{HealthState, State};
use isola_runtime::workload::{DEFAULT_NETWORK, Isolation, UserMount, Workload};
use serde_json::{Value, json};

use super::Links;
use super::ports::{Port, ports, ports_text};
use crate::error::{Code, Failure, Result};
use crate::filter::Filters;
use crate::output::{Column, duration, elapsed_ms, local_time, since};

/// Fields of a row with their headers: Docker's, and the wall.
pub(crate) const FIELDS: &[Column] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Isolation", "ISOLATION"),
    ("Ports", "PORTS"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
];

/// Columns of the table.
pub(crate) const SHOWN: &[&str] = &[
    "ID",
    "Image",
    "Command",
    "RunningFor",
    "Status",
    "Isolation",
    "Ports",
    "Names",
];

/// Keys of `ps --filter`.
pub(crate) const FILTERS: &[&str] = &[
    "id",
    "name",
    "label",
    "status",
    "exited",
    "ancestor",
    "isolation",
    "before",
    "since",
    "network",
    "volume",
    "publish",
    "expose",
    "health",
];

const STATES: &[&str] = &[
    "created",
    "running",
    "paused",
    "restarting",
    "exited",
    "dead",
    "removing",
];

/// An instance as a row.
pub(crate) fn row(instance: &Instance, links: &Links, no_trunc: bool) -> Value {
    let record = &instance.record;
    let workload = &record.workload;
    let labels: Vec<String> = workload
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let mounts = workload.mounts.iter().map(|mount| mounted(mount, no_trunc));
    json!({
        "ID": if no_trunc { record.id.as_str() } else { record.short_id() },
        "Names": record.name,
        "Image": workload.image,
        "Command": command(&workload.args, no_trunc),
        "CreatedAt": local_time(record.created_ms),
        "RunningFor": since(record.created_ms),
        "Status": status_text(instance),
        "State": instance.status.state.as_str(),
        "Isolation": workload.isolation.name(),
        "Ports": shown_ports(instance, links),
        "Labels": labels.join(","),
        "Mounts": mounts.collect::<Vec<_>>().join(","),
        "Networks": links.names(workload).join(","),
    })
}

/// As Docker, nothing for an instance that does not run.
fn shown_ports(instance: &Instance, links: &Links) -> String {
    match instance.status.state.is_live() {
        true => ports_text(&ports(instance, links)),
        false => String::new(),
    }
}

/// Where a mount comes from; long names are cut as Docker's are.
fn mounted(mount: &UserMount, no_trunc: bool) -> String {
    let name = match mount {
        UserMount::Bind { source, .. } => source,
        UserMount::Volume { name, .. } => name,
        UserMount::Tmpfs { target, .. } => target,
    };
    match no_trunc || name.chars().count() <= 15 {
        true => name.clone(),
        false => format!("{}…", name.chars().take(14).collect::<String>()),
    }
}

/// The command in quotes, cut at twenty characters.
fn command(args: &[String], no_trunc: bool) -> String {
    let line = args.join(" ");
    match no_trunc || line.chars().count() <= 20 {
        true => format!("\"{line}\""),
        false => format!("\"{}…\"", line.chars().take(19).collect::<String>()),
    }
}

/// `Up 5 minutes`, `Exited (0) 2 hours ago`...
pub(crate) fn status_text(instance: &Instance) -> String {
    let status = &instance.status;
    let code = status.exit_code.unwrap_or(0);
    let up = || {
        status
            .started_ms
            .map_or_else(String::new, |then| duration(elapsed_ms(then)))
    };
    let ended = || status.finished_ms.map_or_else(String::new, since);
    match status.state {
        State::Created => "Created".to_owned(),
        State::Running => match status.health.as_ref().map(|health| health.state) {
            Some(HealthState::Starting) => format!("Up {} (health: starting)", up()),
            Some(state) => format!("Up {} ({})", up(), state.as_str()),
            None => format!("Up {}", up()),
        },
        State::Paused => format!("Up {} (Paused)", up()),
        State::Restarting => format!("Restarting ({code}) {}", ended()),
        State::Exited => format!("Exited ({code}) {}", ended()),
    }
}

/// The health of one that runs; `none` where nothing tells.
pub(crate) fn health_word(instance: &Instance) -> &'static str {
    let health = instance.status.health.as_ref();
    let health = health.filter(|_| instance.status.state.is_live());
    health.map_or("none", |health| health.state.as_str())
}

/// Those of `all` (newest first) that are to be listed.
pub(crate) fn select(
    all: Vec<Instance>,
    links: &Links,
    filters: &Filters,
    stopped_too: bool,
) -> Result<Vec<Instance>> {
    filters.words("status", STATES)?;
    filters.words("health", &["starting", "healthy", "unhealthy", "none"])?;
    filters.words("isolation", &Isolation::ALL.map(Isolation::name))?;
    let before = bound(&all, filters, "before")?;
    let since = bound(&all, filters, "since")?;
    let exited = exit_codes(filters)?;
    let publish = port_ranges(filters, "publish")?;
    let expose = port_ranges(filters, "expose")?;
    let stopped_too = stopped_too || filters.has("status") || filters.has("exited");
    let fits = |instance: &Instance| {
        let Instance { record, status } = instance;
        let workload = &record.workload;
        (stopped_too || status.state.is_live())
            && filters.any("id", |id| record.id.starts_with(id.as_str()))
            && filters.any("name", |name| {
                record.name.contains(name.trim_start_matches('/'))
            })
            && filters.labels(&workload.labels)
            && filters.any("status", |word| word == status.state.as_str())
            && (exited.is_empty()
                || status.state == State::Exited
                    && status.exit_code.is_some_and(|code| exited.contains(&code)))
            && filters.any("ancestor", |image| {
                is_ancestor(image, &workload.image, &workload.image_id)
            })
            && filters.any("health", |word| word == health_word(instance))
            && filters.any("isolation", |word| word == workload.isolation.name())
            && filters.any("network", |key| on_network(workload, links, key))
            && filters.any("volume", |key| {
                workload.mounts.iter().any(|mount| has_volume(mount, key))
            })
            && (publish.is_empty() && expose.is_empty()
                || has_port(&ports(instance, links), &publish, &expose))
            && before.is_none_or(|time| record.created_ms < time)
            && since.is_none_or(|time| record.created_ms > time)
    };
    Ok(all.into_iter().filter(fits).collect())
}

/// Whether it is attached to the network called `key`, by name or id.
fn on_network(workload: &Workload, links: &Links, key: &str) -> bool {
    let names = links.names(workload);
    let name = links.find(key).map_or(key, |network| &network.name);
    // Docker's word for the default.
    let name = if name == "bridge" {
        DEFAULT_NETWORK
    } else {
        name
    };
    names.iter().any(|own| own == name)
}

/// Whether a mount is of the volume, from the folder or at the path `key`.
fn has_volume(mount: &UserMount, key: &str) -> bool {
    match mount {
        UserMount::Bind { source, target, .. } => source == key || target == key,
        UserMount::Volume { name, target, .. } => name == key || target == key,
        UserMount::Tmpfs { .. } => false,
    }
}

/// Ports from one to another of a protocol.
struct PortRange {
    first: u16,
    last: u16,
    protocol: String,
}

/// Whether one of the ports is published on, or itself is, a port of a range; as
/// with Docker, either is enough.
fn has_port(ports: &[Port], publish: &[PortRange], expose: &[PortRange]) -> bool {
    let within = |ranges: &[PortRange], port: u16, protocol: &str| {
        let holds = |range: &PortRange| {
            (range.first..=range.last).contains(&port) && range.protocol == protocol
        };
        ranges.iter().any(holds)
    };
    ports.iter().any(|port| {
        let host = port.host.map(|host| host.port());
        within(expose, port.port, &port.protocol)
            || host.is_some_and(|host| within(publish, host, &port.protocol))
    })
}

/// Values `PORT[-PORT][/PROTOCOL]` of a filter.
fn port_ranges(filters: &Filters, key: &str) -> Result<Vec<PortRange>> {
    let read = |text: &String| {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(PortRange {
                first,
                last,
                protocol: protocol.to_lowercase(),
            }),
            _ => Err(Failure::new(
                Code::Filter,
                format!("the filter {key} wants PORT[-PORT][/PROTOCOL], not {text:?}"),
            )),
        }
    };
    filters.values(key).iter().map(read).collect()
}

fn exit_codes(filters: &Filters) -> Result<Vec<i32>> {
    let read = |text: &String| {
        text.parse::<i32>().map_err(|_| {
            Failure::new(
                Code::Filter,
                format!("the filter exited wants a number, not {text:?}"),
            )
        })
    };
    filters.values("exited").iter().map(read).collect()
}

/// The time at which the instance that a filter names was created.
fn bound(all: &[Instance], filters: &Filters, key: &str) -> Result<Option<u64>> {
    let Some(name) = filters.values(key).last() else {
        return Ok(None);
    };
    let named = |instance: &&Instance| {
        instance.record.name == *name
            || (!name.is_empty() && instance.record.id.starts_with(name.as_str()))
    };
    match all.iter().find(named) {
        Some(instance) => Ok(Some(instance.record.created_ms)),
        None => Err(Failure::new(
            Code::NoSuch,
            format!("the filter {key}: no such instance: {name}"),
        )),
    }
}

/// Whether `wanted` names the image, with or without tag, or its id.
fn is_ancestor(wanted: &str, image: &str, id: &str) -> bool {
    let canonical = |name: &str| {
        name.parse::<isola_images::Reference>()
            .map(|name| name.to_string())
            .ok()
    };
    let digits = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    let by_id = digits.len() >= 2 && id.trim_start_matches("sha256:").starts_with(digits);
    wanted == image || by_id || canonical(wanted).is_some_and(|name| canonical(image) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_cut() {
        let args = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(command(&args("sleep 5"), false), "\"sleep 5\"");
        assert_eq!(
            command(&args("sh -c exec-something-long"), false),
            "\"sh -c exec-somethin…\""
        );
        assert_eq!(
            command(&args("sh -c exec-something-long"), true),
            "\"sh -c exec-something-long\""
        );
    }

    #[test]
    fn ports_are_found_in_ranges() {
        let port = |host: &str, port| Port {
            port,
            protocol: "tcp".to_owned(),
            host: host.parse().ok(),
        };
        let ports = [port("0.0.0.0:8080", 80), port("", 443)];
        let has = |publish: &str, expose: &str| {
            let mut filters = Filters::default();
            for (key, value) in [("publish", publish), ("expose", expose)] {
                if !value.is_empty() {
                    filters.add(key, value);
                }
            }
            let ranges = |key| port_ranges(&filters, key).unwrap();
            has_port(&ports, &ranges("publish"), &ranges("expose"))
        };
        assert!(has("8080", "") && has("8000-9000/TCP", "") && has("", "443") && has("1", "80"));
        assert!(!has("443", "") && !has("8080/udp", "") && !has("80", "8080"));
        for text in ["x", "9-8", "70000", "-1"] {
            let mut filters = Filters::default();
            filters.add("publish", text);
            assert!(port_ranges(&filters, "publish").is_err(), "{text}");
        }
    }

    #[test]
    fn an_ancestor_is_an_image_by_any_of_its_names() {
        let id = "sha256:abcdef";
        for (wanted, is) in [
            ("debian", true),
            ("debian:latest", true),
            ("docker.io/library/debian", true),
            ("abc", true),
            ("sha256:abcdef", true),
            ("debian:12", false),
            ("deb", false),
        ] {
            assert_eq!(is_ancestor(wanted, "debian", id), is, "{wanted}");
        }
    }
}

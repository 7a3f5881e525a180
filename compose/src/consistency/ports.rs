//! Ports of the host that two services want.

use std::collections::HashMap;

use super::{replicas, services};
use crate::diagnostic::Sink;
use crate::yaml::Node;

/// Who has a port: an address (`None`: all of them) and a service.
type Taken<'a> = (Option<&'a str>, &'a str);

/// Tells about ports that are published twice on one address, and about ports
/// that are too few for a service's instances.
pub(super) fn collisions(tree: &Node, sink: &mut Sink) {
    let mut taken: HashMap<(u16, &str), Vec<Taken<'_>>> = HashMap::new();
    for (name, entry) in services(tree) {
        let count = replicas(&entry.node);
        for port in entry
            .node
            .get("ports")
            .and_then(Node::as_list)
            .unwrap_or_default()
        {
            let Some((first, last)) = port.text_at("published").and_then(range) else {
                continue;
            };
            if first == 0 {
                continue;
            }
            let ports = i64::from(last - first) + 1;
            if count > ports {
                let message =
                    format!("services.{name}: {count} instances share {ports} published port(s)");
                let hint = format!(
                    "publish a range, one for each: \"{first}-{}:...\"",
                    i64::from(first) + count - 1
                );
                sink.error(port.place, message, hint);
            }
            // Of a pool each instance takes one that is free.
            if first != last {
                continue;
            }
            let address = port
                .text_at("host_ip")
                .filter(|ip| !matches!(*ip, "0.0.0.0" | "::" | ""));
            let protocol = port.text_at("protocol").unwrap_or("tcp");
            let others = taken.entry((first, protocol)).or_default();
            let overlap =
                |other: &&Taken<'_>| other.0.is_none() || address.is_none() || other.0 == address;
            if let Some((_, other)) = others.iter().find(overlap) {
                let whose = if *other == name {
                    "itself".to_owned()
                } else {
                    format!("`{other}`")
                };
                let message = format!(
                    "services.{name}: the port {first}/{protocol} of the host is published by {whose} already"
                );
                sink.error(port.place, message, "publish it on another port or address");
            }
            others.push((address, name));
        }
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

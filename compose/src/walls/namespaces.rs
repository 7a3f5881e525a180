//! Namespaces that are shared, which a wall with a kernel of its own never does.

use isola_runtime::workload::Isolation;

use super::guest_wall;
use crate::diagnostic::Sink;
use crate::yaml::{Map, Node};

/// Namespaces of the host or of another service, which a guest can't join. That of users
/// is its own kernel's: `userns_mode: host`, which maps none, asks for nothing else.
const NAMESPACES: &[&str] = &["network_mode", "pid", "ipc", "uts", "cgroup"];

/// What a guest can't have, by `refuse`: place, attribute, reason.
pub(super) fn guest(service: &Node, refuse: &mut impl FnMut(&Node, String, &str)) {
    for key in NAMESPACES {
        let Some(node) = service.get(key) else {
            continue;
        };
        let text = node.as_text().unwrap_or_default();
        let shared = matches!((*key, text), (_, "host") | ("ipc", "shareable"));
        if shared || text.starts_with("service:") || text.starts_with("container:") {
            let why = "a guest has a kernel of its own and shares no namespace";
            refuse(node, format!("`{key}: {text}`"), why);
        }
    }
}

/// A container can't join the namespaces of a service that is a guest.
pub(super) fn mixed(
    name: &str,
    service: &Node,
    services: Option<&Map>,
    default: &[Isolation],
    sink: &mut Sink,
) {
    for key in NAMESPACES {
        let Some(node) = service.get(key) else {
            continue;
        };
        let text = node.as_text().unwrap_or_default();
        let other = text.strip_prefix("service:");
        let Some(other) = other.filter(|other| *other != name) else {
            continue;
        };
        let entry = services.and_then(|services| services.get(other));
        let Some(wall) = entry.and_then(|entry| guest_wall(&entry.node, default)) else {
            continue;
        };
        let message = format!(
            "services.{name}: `{key}: {text}` can't be had: `{other}` is behind the wall {wall}, with a kernel of its own"
        );
        let hint = format!("put both behind one wall: write `isolation: container` for `{other}`");
        sink.error(node.place, message, hint);
    }
}

//! `pid`, `ipc`, `uts` and `cgroup`: which modes there are, and what contradicts them.

use super::Tell;
use crate::yaml::Node;

/// The attributes, the modes that are words, and whether another's can be joined.
const MODES: &[(&str, &[&str], bool)] = &[
    ("pid", &["host", "private"], true),
    ("ipc", &["host", "none", "private", "shareable"], true),
    ("uts", &["host", "private"], false),
    ("cgroup", &["host", "private"], false),
];

pub(super) fn check(tree: &Node, service: &Node, tell: Tell<'_>) {
    for (key, words, joins) in MODES {
        let Some(node) = service.get(key) else {
            continue;
        };
        // A variable that is not set leaves an empty text.
        let text = node.as_text().unwrap_or_default();
        let joined = ["service:", "container:"].map(|prefix| text.strip_prefix(prefix));
        let joined = joined.into_iter().flatten().next();
        let is_known = words.contains(&text) || *joins && joined.is_some_and(|it| !it.is_empty());
        if !text.is_empty() && !is_known {
            let more = match joins {
                true => ", service:NAME, container:NAME",
                false => "",
            };
            let hint = format!("there are {}{more}", words.join(", "));
            tell(node.place, &format!("`{key}: {text}` is no mode"), &hint);
        }
    }
    names(service, tell);
    shared_memory(tree, service, tell);
}

/// The host's names can't be changed by a service.
fn names(service: &Node, tell: Tell<'_>) {
    if service.text_at("uts") != Some("host") {
        return;
    }
    for key in ["hostname", "domainname"] {
        if let Some(node) = service.get(key).filter(|node| node.as_text() != Some("")) {
            let message = format!("`{key}` and `uts: host` exclude each other");
            tell(node.place, &message, "keep one of them");
        }
    }
}

fn shared_memory(tree: &Node, service: &Node, tell: Tell<'_>) {
    let Some(node) = service.get("ipc") else {
        return;
    };
    let text = node.as_text().unwrap_or_default();
    if let Some(size) = service.get("shm_size")
        && !matches!(text, "" | "private" | "shareable")
    {
        let message = format!("`shm_size` and `ipc: {text}` exclude each other");
        tell(
            size.place,
            &message,
            "its /dev/shm is not its own; keep one of them",
        );
    }
    let Some(other) = text.strip_prefix("service:") else {
        return;
    };
    let other_service = tree
        .get("services")
        .and_then(|services| services.get(other));
    // That it is not declared is told as a dependency that is not.
    if other_service.is_some_and(|it| it.text_at("ipc") != Some("shareable")) {
        let message = format!("`ipc: {text}` joins a service that does not share its own");
        let hint = format!("write `ipc: shareable` for `{other}`");
        tell(node.place, &message, &hint);
    }
}

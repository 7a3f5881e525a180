//! What of a build has no effect, told with its place when the file is read.

use crate::diagnostic::Sink;
use crate::yaml::{Data, Node};

/// Keys that have no effect, and why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "cache_from",
        "steps that were done on this host are found again by themselves",
    ),
    (
        "cache_to",
        "steps that were done stay on this host; `isola builder ls` shows them",
    ),
    ("provenance", "attestations are not made"),
    ("sbom", "attestations are not made"),
];

/// Warns about what has no effect.
pub(crate) fn check(tree: &Node, sink: &mut Sink) {
    let services = tree.get("services").and_then(Node::as_map);
    for (name, entry) in services.into_iter().flatten() {
        let Some(build) = entry.node.get("build") else {
            continue;
        };
        let off = |node: &Node| {
            node.as_list() == Some(&[])
                || node.data == Data::Bool(false)
                || node.as_text() == Some("false")
        };
        for (key, reason) in WITHOUT_EFFECT {
            if let Some(node) = build.get(key).filter(|node| !off(node)) {
                let message = format!("services.{name}.build.{key} has no effect");
                sink.warn(node.place, message, *reason);
            }
        }
        if let Some(node) = build.get("platforms")
            && node.as_list().is_some_and(|list| list.len() > 1)
        {
            let message = format!("services.{name}.build.platforms has an effect for one alone");
            sink.warn(
                node.place,
                message,
                "a stack builds an image for one platform: `platform`, else this host's",
            );
        }
    }
}

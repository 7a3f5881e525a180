//! What makes two items of a list the same, when files are merged.

use crate::yaml::Node;

/// `target`, in the long form of volumes and devices.
pub(crate) fn target(node: &Node) -> String {
    let target = node.text_at("target").or_else(|| node.text_at("source"));
    target.or(node.as_text()).unwrap_or_default().to_owned()
}

/// `path`.
pub(crate) fn path(node: &Node) -> String {
    node.text_at("path").unwrap_or_default().to_owned()
}

/// Where a secret is mounted.
pub(crate) fn secret(node: &Node) -> String {
    file(node, "/run/secrets/")
}

/// Where a config is mounted.
pub(crate) fn config(node: &Node) -> String {
    file(node, "/")
}

fn file(node: &Node, folder: &str) -> String {
    let source = node.text_at("source").unwrap_or_default();
    match node.text_at("target") {
        Some(target) if target.starts_with('/') => target.to_owned(),
        Some(target) => format!("{folder}{target}"),
        None => format!("{folder}{source}"),
    }
}

/// Address, ports and protocol. Items that are still texts are their own key.
pub(crate) fn port(node: &Node) -> String {
    if let Some(text) = node.as_text() {
        return text.to_owned();
    }
    let part = |key: &str| node.text_at(key).unwrap_or_default();
    let target = node
        .get("target")
        .map(|target| format!("{:?}", target.data));
    format!(
        "{}:{}:{}/{}",
        part("host_ip"),
        part("published"),
        target.unwrap_or_default(),
        part("protocol")
    )
}

/// The folder; what follows a colon are options.
pub(crate) fn tmpfs(node: &Node) -> String {
    let text = node.as_text().unwrap_or_default();
    text.split(':').next().unwrap_or_default().to_owned()
}

/// `subnet`.
pub(crate) fn subnet(node: &Node) -> String {
    node.text_at("subnet").unwrap_or_default().to_owned()
}

//! Attributes that nothing here carries out. Left out silently they would give a
//! service less than its author relies on, so they are refused by name.

use isola_runtime::{Error, Kind, Result};

use crate::project::Service;

/// Refuses the first attribute that can't be had.
pub(super) fn unsupported(name: &str, service: &Service) -> Result<()> {
    let Some((attribute, hint)) = found(service) else {
        return Ok(());
    };
    let message = format!("services.{name}: `{attribute}` is not supported");
    Err(Error::new(Kind::Unsupported, message).hint(hint))
}

fn found(service: &Service) -> Option<(String, &'static str)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let shared = "instances have namespaces of their own; take it away";
    for (key, value, own) in [
        ("pid", text(&service.pid), &[""][..]),
        ("ipc", text(&service.ipc), &["", "private", "shareable"]),
        ("uts", text(&service.uts), &[""]),
        ("cgroup", text(&service.cgroup), &["", "private"]),
    ] {
        if !own.contains(&value.as_str()) {
            return Some((format!("{key}: {value}"), shared));
        }
    }
    let limited = |key: &str| {
        (
            key.to_owned(),
            "without it a limit would be lost; take it away",
        )
    };
    if service
        .cgroup_parent
        .as_ref()
        .is_some_and(|parent| !parent.is_empty())
    {
        return Some(limited("cgroup_parent"));
    }
    if service.blkio_config.is_some() {
        return Some(limited("blkio_config"));
    }
    let devices = "name the device nodes under `devices`";
    if !service.device_cgroup_rules.is_empty() {
        return Some(("device_cgroup_rules".to_owned(), devices));
    }
    if !service.gpus.is_empty() {
        return Some(("gpus".to_owned(), devices));
    }
    let reserved = service
        .deploy
        .as_ref()
        .and_then(|deploy| deploy.resources.reservations.as_ref());
    if reserved.is_some_and(|reserved| !reserved.devices.is_empty()) {
        return Some(("deploy.resources.reservations.devices".to_owned(), devices));
    }
    if let Some(mode) = service.userns_mode.as_deref()
        && !matches!(mode, "" | "host")
    {
        return Some((
            format!("userns_mode: {mode}"),
            "there is `isola run --userns`, or `isolation: vm`",
        ));
    }
    if service.external_links.iter().any(|link| link.contains(':')) {
        let hint = "instances of one network know each other by name; put both on one network";
        return Some(("external_links with an alias".to_owned(), hint));
    }
    None
}

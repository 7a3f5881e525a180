//! Devices of the host.

use std::path::{Path, PathBuf};

use isola_proto::spec::Device;

use super::{Context, invalid};
use crate::cgroup::DeviceRule;
use crate::error::{Error, Kind, Result};
use crate::workload::host::{FileKind, Stat};
use crate::workload::model::UserDevice;
use crate::workload::walls::Feature;

/// Below /dev, what belongs to one mount or one terminal and is not passed on by
/// `--privileged`.
const PRIVATE: &[&str] = &[
    "/dev/pts",
    "/dev/shm",
    "/dev/fd",
    "/dev/mqueue",
    "/dev/console",
    "/dev/ptmx",
];

/// Rules for devices by number; `a` stands for both kinds.
pub(super) fn rules(cx: &Context<'_>) -> Result<Vec<String>> {
    let flag = "--device-cgroup-rule";
    let mut rules = Vec::new();
    for text in &cx.options.device_cgroup_rule {
        cx.wall
            .require(Feature::DeviceRules, &format!("{flag} {text}"))?;
        let parsed = DeviceRule::parse(text).map_err(|why| {
            invalid(flag, text, why).hint("a rule is KIND MAJOR:MINOR ACCESS, as in c 10:229 rwm")
        })?;
        rules.extend(parsed.iter().map(ToString::to_string));
    }
    Ok(rules)
}

pub(super) fn devices(cx: &Context<'_>) -> Result<Vec<UserDevice>> {
    if let Some(text) = &cx.options.gpus {
        let refused = cx.wall.require(Feature::Gpus, &format!("--gpus {text}"));
        refused.map_err(|error| match cx.wall.has(Feature::Devices) {
            true => {
                error.hint("nodes of devices are passed on by --device, as in --device /dev/dri")
            }
            false => error,
        })?;
    }
    let mut devices: Vec<UserDevice> = Vec::new();
    // A guest's kernel has devices of its own; there is nothing to pass on.
    if cx.options.privileged && cx.wall.has(Feature::Devices) {
        let nodes = cx.host.files.nodes_below(Path::new("/dev"));
        let nodes = nodes.map_err(|error| Error::io("list", Path::new("/dev"), error))?;
        let public = |path: &Path| !PRIVATE.iter().any(|private| path.starts_with(private));
        let nodes = nodes.into_iter().filter(|(path, _)| public(path));
        for (path, stat) in nodes {
            // A node whose name is not UTF-8 can't be said in a record.
            devices.extend(path.to_str().and_then(|path| node(path, stat, "rwm")));
        }
    }
    for text in &cx.options.device {
        cx.wall
            .require(Feature::Devices, &format!("--device {text}"))?;
        for device in parse(cx, text)? {
            devices.retain(|have| have.node.path != device.node.path);
            devices.push(device);
        }
    }
    Ok(devices)
}

/// `SOURCE[:TARGET][:ACCESS]`; a folder stands for all devices in it.
fn parse(cx: &Context<'_>, text: &str) -> Result<Vec<UserDevice>> {
    let is_access = |part: &str| !part.is_empty() && part.chars().all(|c| "rwm".contains(c));
    let (source, target, access) = match text.split(':').collect::<Vec<_>>()[..] {
        [source] => (source, source, "rwm"),
        [source, access] if is_access(access) => (source, source, access),
        [source, target] => (source, target, "rwm"),
        [source, target, access] if is_access(access) => (source, target, access),
        [_, _, access] => {
            return Err(invalid(
                "--device",
                text,
                format!("{access:?} is not made of r, w and m"),
            ));
        }
        _ => {
            return Err(invalid(
                "--device",
                text,
                "not of the form SOURCE[:TARGET[:rwm]]",
            ));
        }
    };
    if !source.starts_with('/') {
        let message = format!(
            "--device {text:?}: only paths of nodes are taken, not names of device classes"
        );
        return Err(Error::new(Kind::Unsupported, message));
    }
    let Some(target) = super::mounts::clean(target).filter(|target| target.starts_with("/dev/"))
    else {
        return Err(invalid(
            "--device",
            text,
            "the path inside must be below /dev",
        ));
    };
    if PRIVATE
        .iter()
        .any(|private| Path::new(&target).starts_with(private))
    {
        return Err(invalid(
            "--device",
            text,
            format!("{target} belongs to the instance"),
        ));
    }
    let path = PathBuf::from(source);
    let stat = cx
        .host
        .files
        .stat(&path)
        .map_err(|error| invalid("--device", text, error))?;
    match stat.kind {
        FileKind::Char | FileKind::Block => Ok(node(&target, stat, access).into_iter().collect()),
        FileKind::Dir => below(cx, text, &path, &target, access),
        FileKind::File | FileKind::Other => Err(invalid(
            "--device",
            text,
            format!("{source} is not a device"),
        )),
    }
}

fn below(
    cx: &Context<'_>,
    text: &str,
    folder: &Path,
    target: &str,
    access: &str,
) -> Result<Vec<UserDevice>> {
    let nodes = cx
        .host
        .files
        .nodes_below(folder)
        .map_err(|error| invalid("--device", text, error))?;
    let inside = |path: &Path| {
        Some(format!(
            "{target}/{}",
            path.strip_prefix(folder).ok()?.to_str()?
        ))
    };
    let devices: Vec<_> = nodes
        .into_iter()
        .filter_map(|(path, stat)| node(&inside(&path)?, stat, access))
        .collect();
    if devices.is_empty() {
        return Err(invalid(
            "--device",
            text,
            "there is no device in this folder",
        ));
    }
    Ok(devices)
}

fn node(path: &str, stat: Stat, access: &str) -> Option<UserDevice> {
    let kind = match stat.kind {
        FileKind::Char => 'c',
        FileKind::Block => 'b',
        FileKind::File | FileKind::Dir | FileKind::Other => return None,
    };
    // In the order r, w, m and each once, as the device cgroup writes them.
    let access = "rwm".chars().filter(|c| access.contains(*c)).collect();
    let Stat {
        mode,
        uid,
        gid,
        major,
        minor,
        ..
    } = stat;
    Some(UserDevice {
        node: Device {
            path: path.to_owned(),
            kind,
            major,
            minor,
            mode: mode & 0o777,
            uid,
            gid,
        },
        access,
    })
}

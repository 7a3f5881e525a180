//! `--mount type=...,source=...,target=...`.

use std::collections::BTreeMap;

use super::fields::split_csv;
use super::mounts::{
    check_propagates, check_propagation, check_source, check_target, consistency, source_path,
    tmpfs_data,
};
use super::{Context, conflict, invalid, volumes};
use crate::error::Result;
use crate::workload::model::UserMount;
use crate::workload::units::parse_size;
use crate::workload::walls::Feature;

/// The fields as they were given.
#[derive(Default)]
pub(super) struct Fields {
    kind: Option<String>,
    pub(super) source: Option<String>,
    pub(super) target: Option<String>,
    pub(super) readonly: bool,
    pub(super) nocopy: bool,
    pub(super) subpath: Option<String>,
    pub(super) driver: Option<String>,
    pub(super) options: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) cached: bool,
    propagation: Option<String>,
    recursive: Option<String>,
    tmpfs_size: Option<String>,
    tmpfs_mode: Option<String>,
    /// Keys that belong to one type, as `bind-propagation`.
    special: Vec<String>,
}

impl Fields {
    /// Refuses keys that belong to another type than `kind`.
    pub(super) fn only(&self, text: &str, kind: &str) -> Result<()> {
        let own = |key: &&String| key.split('-').next() == Some(kind);
        match self.special.iter().find(|key| !own(key)) {
            None => Ok(()),
            Some(key) => Err(conflict(format!(
                "--mount {text:?}: {key} is not for a mount of type {kind}"
            ))),
        }
    }
}

pub(super) fn parse(cx: &Context<'_>, text: &str) -> Result<UserMount> {
    let fields = fields(text)?;
    // Docker's default type is a volume.
    match fields.kind.as_deref().unwrap_or("volume") {
        "bind" => bind(cx, text, fields),
        "tmpfs" => tmpfs(cx, text, fields),
        "volume" => volumes::long(cx, text, fields),
        other => Err(invalid(
            "--mount",
            text,
            format!("no type {other:?}; there are bind, volume and tmpfs"),
        )),
    }
}

fn fields(text: &str) -> Result<Fields> {
    let mut fields = Fields::default();
    for field in split_csv(text).ok_or_else(|| invalid("--mount", text, "a quote is not closed"))? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        let key = key.trim().to_ascii_lowercase();
        let text_value = || {
            let filled = value.filter(|value| !value.is_empty());
            filled
                .map(str::to_owned)
                .ok_or_else(|| invalid("--mount", text, format!("{key:?} needs a value")))
        };
        if ["bind-", "tmpfs-", "volume-"]
            .iter()
            .any(|kind| key.starts_with(kind))
        {
            fields.special.push(key.clone());
        }
        match key.as_str() {
            "type" => fields.kind = Some(text_value()?.to_ascii_lowercase()),
            "source" | "src" => fields.source = Some(text_value()?),
            "target" | "dst" | "destination" => fields.target = Some(text_value()?),
            "readonly" | "ro" => fields.readonly = flag(text, &key, value)?,
            "bind-propagation" => {
                fields.propagation = Some(check_propagation("--mount", text, &text_value()?)?)
            }
            "bind-recursive" => fields.recursive = Some(text_value()?),
            "bind-nonrecursive" => {
                let word = if flag(text, &key, value)? {
                    "disabled"
                } else {
                    "enabled"
                };
                fields.recursive = Some(word.to_owned());
            }
            "volume-nocopy" => fields.nocopy = flag(text, &key, value)?,
            "volume-subpath" => fields.subpath = Some(text_value()?),
            "volume-driver" => fields.driver = Some(text_value()?),
            "volume-opt" => add_pair(&mut fields.options, text, &key, &text_value()?)?,
            "volume-label" => add_pair(&mut fields.labels, text, &key, &text_value()?)?,
            "tmpfs-size" => fields.tmpfs_size = Some(text_value()?),
            "tmpfs-mode" => fields.tmpfs_mode = Some(text_value()?),
            "consistency" => {
                let word = text_value()?;
                fields.cached = match word.as_str() {
                    "default" => false,
                    word => consistency(word).ok_or_else(|| {
                        invalid("--mount", text, format!("no consistency {word:?}"))
                    })?,
                };
            }
            other => return Err(invalid("--mount", text, format!("no field {other:?}"))),
        }
    }
    Ok(fields)
}

fn flag(text: &str, key: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("1" | "t" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(invalid(
            "--mount",
            text,
            format!("{key:?} is true or false, not {other:?}"),
        )),
    }
}

/// `NAME=VALUE`, or a name alone.
fn add_pair(map: &mut BTreeMap<String, String>, text: &str, key: &str, pair: &str) -> Result<()> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    if name.is_empty() {
        return Err(invalid(
            "--mount",
            text,
            format!("{key}: no name before `=`"),
        ));
    }
    map.insert(name.to_owned(), value.to_owned());
    Ok(())
}

fn bind(cx: &Context<'_>, text: &str, fields: Fields) -> Result<UserMount> {
    cx.wall
        .require(Feature::BindMounts, &format!("--mount {text}"))?;
    fields.only(text, "bind")?;
    let (Some(source), Some(target)) = (&fields.source, &fields.target) else {
        return Err(invalid(
            "--mount",
            text,
            "a bind mount needs source and target",
        ));
    };
    let target = check_target("--mount", text, target)?;
    let source = source_path(cx, "--mount", text, source)?;
    check_source(cx, text, &source)?;
    let recursive = match fields.recursive.as_deref() {
        None | Some("enabled") => true,
        Some("disabled") => false,
        // Read-only always covers submounts here, so this asks for no more.
        Some("readonly") if fields.readonly => true,
        Some("readonly") => {
            return Err(conflict(format!(
                "--mount {text:?}: bind-recursive=readonly needs readonly"
            )));
        }
        Some("writable") => {
            return Err(invalid(
                "--mount",
                text,
                "submounts of a read-only mount can't be kept writable",
            ));
        }
        Some(other) => {
            let why =
                format!("no bind-recursive {other:?}; there are enabled, disabled and readonly");
            return Err(invalid("--mount", text, why));
        }
    };
    let propagation = fields.propagation.unwrap_or_else(|| "rprivate".to_owned());
    let mount = UserMount::Bind {
        source,
        target,
        readonly: fields.readonly,
        create_source: false,
        propagation,
        recursive,
        cached: fields.cached,
    };
    check_propagates(cx, &format!("--mount {text}"), &mount)?;
    Ok(mount)
}

fn tmpfs(cx: &Context<'_>, text: &str, fields: Fields) -> Result<UserMount> {
    cx.wall
        .require(Feature::Tmpfs, &format!("--mount {text}"))?;
    fields.only(text, "tmpfs")?;
    if fields.source.is_some() {
        return Err(conflict(format!("--mount {text:?}: a tmpfs has no source")));
    }
    let Some(target) = &fields.target else {
        return Err(invalid("--mount", text, "a tmpfs needs a target"));
    };
    let target = check_target("--mount", text, target)?;
    let mut data = Vec::new();
    if let Some(size) = &fields.tmpfs_size {
        let bytes = parse_size(size)
            .map_err(|why| invalid("--mount", text, format!("tmpfs-size: {why}")))?;
        data.push(format!("size={bytes}"));
    }
    if let Some(mode) = &fields.tmpfs_mode {
        data.push(
            tmpfs_data(&format!("mode={mode}")).map_err(|why| invalid("--mount", text, why))?,
        );
    }
    let data = data.join(",");
    Ok(UserMount::Tmpfs {
        target,
        data,
        readonly: fields.readonly,
        noexec: true,
        nosuid: true,
        nodev: true,
    })
}

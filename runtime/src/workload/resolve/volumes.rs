//! Volumes: `-v NAME:TARGET`, `--mount type=volume`, what the image declares, and
//! `--volumes-from`.

use std::collections::BTreeMap;

use super::fields::check_name;
use super::mount_long::Fields;
use super::mounts::{PROPAGATIONS, check_selinux, check_target, clean, consistency, target_of};
use super::{Context, conflict, invalid};
use crate::error::{Error, Kind, Result};
use crate::workload::model::UserMount;
use crate::workload::walls::Feature;

/// The option that makes a volume a disk of its own.
const BLOCK: &str = "block";
/// The one driver.
const DRIVER: &str = "local";

/// `-v TARGET` (no name) and `-v NAME:TARGET[:OPTIONS]`.
pub(super) fn short(
    cx: &Context<'_>,
    text: &str,
    name: Option<&str>,
    (target, options): (&str, &str),
) -> Result<UserMount> {
    cx.wall
        .require(Feature::NamedVolumes, &format!("--volume {text}"))?;
    let target = check_target("--volume", text, target)?;
    if let Some(name) = name {
        check_volume("--volume", text, name)?;
    }
    let (mut readonly, mut nocopy, mut cached) = (false, false, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" => readonly = option == "ro",
            "nocopy" => nocopy = true,
            "z" | "Z" => check_selinux(cx, "--volume", text)?,
            word if consistency(word).is_some() => cached = consistency(word) == Some(true),
            word if PROPAGATIONS.contains(&word) || matches!(word, "bind" | "rbind") => {
                let why = format!("`{word}` is for bind mounts, this is a volume");
                return Err(invalid("--volume", text, why));
            }
            other => return Err(invalid("--volume", text, format!("no option {other:?}"))),
        }
    }
    Ok(UserMount::Volume {
        name: name.unwrap_or_default().to_owned(),
        target,
        readonly,
        nocopy,
        subpath: None,
        anonymous: name.is_none(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        cached,
    })
}

fn check_volume(flag: &str, text: &str, name: &str) -> Result<()> {
    if isola_volume::valid_name(name) {
        return Ok(());
    }
    let why = format!(
        "{name:?} is not the name of a volume: 2 to 255 letters, digits, `_`, `.` and `-`, a letter or digit first"
    );
    Err(invalid(flag, text, why)
        .hint("a folder of the host is given by its absolute path, or as ./path"))
}

/// `--mount type=volume`.
pub(super) fn long(cx: &Context<'_>, text: &str, fields: Fields) -> Result<UserMount> {
    cx.wall
        .require(Feature::NamedVolumes, &format!("--mount {text}"))?;
    fields.only(text, "volume")?;
    let Some(target) = &fields.target else {
        return Err(invalid("--mount", text, "a volume needs a target"));
    };
    let target = check_target("--mount", text, target)?;
    if let Some(name) = &fields.source {
        check_volume("--mount", text, name)?;
    }
    if let Some(driver) = fields.driver.as_deref().filter(|driver| *driver != DRIVER) {
        let message = format!("--mount {text:?}: no driver {driver:?}; there is `{DRIVER}` only");
        return Err(Error::new(Kind::Unsupported, message));
    }
    let subpath = fields
        .subpath
        .map(|path| check_subpath(text, &path))
        .transpose()?;
    if fields.options.contains_key(BLOCK) {
        let what = format!("--mount {text} (a volume that is a disk)");
        cx.wall.require(Feature::BlockVolumes, &what)?;
        if subpath.is_some() {
            return Err(conflict(format!(
                "--mount {text:?}: a volume that is a disk is mounted whole, without volume-subpath"
            )));
        }
    }
    Ok(UserMount::Volume {
        anonymous: fields.source.is_none(),
        name: fields.source.unwrap_or_default(),
        target,
        readonly: fields.readonly,
        nocopy: fields.nocopy,
        subpath,
        options: fields.options,
        labels: fields.labels,
        cached: fields.cached,
    })
}

/// A path inside a volume, without a way out of it by name.
fn check_subpath(text: &str, path: &str) -> Result<String> {
    let up = path.split('/').any(|part| part == "..");
    if path.starts_with('/') || up || path.contains('\0') {
        return Err(invalid(
            "--mount",
            text,
            "volume-subpath must be a path inside the volume, without `..`",
        ));
    }
    let path = clean(&format!("/{path}")).unwrap_or_default();
    match path.trim_start_matches('/') {
        "" => Err(invalid("--mount", text, "volume-subpath names nothing")),
        path => Ok(path.to_owned()),
    }
}

/// Unnamed volumes for what the image declares, but where the user has a mount.
pub(super) fn of_image(cx: &Context<'_>, mounts: &[UserMount]) -> Result<Vec<UserMount>> {
    const FLAG: &str = "the image's VOLUME";
    let mut found: Vec<UserMount> = Vec::new();
    for declared in &cx.image.volumes {
        let target = check_target(FLAG, declared, declared)?;
        let mut all = mounts.iter().chain(&found);
        if all.any(|mount| target_of(mount) == target) {
            continue;
        }
        cx.wall
            .require(Feature::NamedVolumes, &format!("{FLAG} {declared}"))?;
        found.push(UserMount::Volume {
            name: String::new(),
            target,
            readonly: false,
            nocopy: false,
            subpath: None,
            anonymous: true,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            cached: false,
        });
    }
    Ok(found)
}

/// Reads `--volumes-from INSTANCE[:MODE]`: the instance, and whether its volumes
/// are to be read-only where they were not.
///
/// # Errors
/// No instance, or a mode other than `ro`, `rw`, `z` and `Z`.
pub fn parse_volumes_from(text: &str) -> Result<(String, bool)> {
    const FLAG: &str = "--volumes-from";
    let (instance, modes) = text.split_once(':').unwrap_or((text, ""));
    check_name(instance).map_err(|why| invalid(FLAG, text, why))?;
    let mut readonly = false;
    for mode in modes.split(',').filter(|mode| !mode.is_empty()) {
        match mode {
            "ro" | "rw" => readonly = mode == "ro",
            // The labels are those that the other instance's mounts have.
            "z" | "Z" => {}
            other => {
                let why = format!("no mode {other:?}; there are ro and rw");
                return Err(invalid(FLAG, text, why));
            }
        }
    }
    Ok((instance.to_owned(), readonly))
}

/// Adds another instance's volumes and bind mounts to `mounts` (`--volumes-from`).
/// What the user mounts at the same place goes before them; unnamed volumes, such
/// as the image's, do not. A tmpfs holds nothing that could be shared.
pub fn merge_volumes_from(mounts: &mut Vec<UserMount>, other: &[UserMount], readonly: bool) {
    for mount in other {
        let mut mount = mount.clone();
        match &mut mount {
            UserMount::Tmpfs { .. } => continue,
            UserMount::Bind { readonly: has, .. } => *has |= readonly,
            UserMount::Volume {
                readonly: has,
                anonymous,
                ..
            } => {
                *has |= readonly;
                // It goes with the instance that it was made for.
                *anonymous = false;
            }
        }
        // Only one that has no name yet is not wanted for what it holds.
        let unnamed =
            |mount: &UserMount| matches!(mount, UserMount::Volume { name, .. } if name.is_empty());
        let taken = mounts
            .iter_mut()
            .find(|have| target_of(have) == target_of(&mount));
        match taken {
            Some(have) if unnamed(have) => *have = mount,
            Some(_) => {}
            None => mounts.push(mount),
        }
    }
}

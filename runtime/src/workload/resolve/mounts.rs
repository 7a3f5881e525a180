//! Bind mounts by `-v`, `--tmpfs`, and what holds for all mounts together.

use std::path::Path;

use super::{Context, conflict, invalid, mount_long, volumes};
use crate::error::{Error, Kind, Result};
use crate::workload::model::UserMount;
use crate::workload::walls::Feature;

pub(super) const PROPAGATIONS: &[&str] = &[
    "private", "rprivate", "slave", "rslave", "shared", "rshared",
];

/// Files of procfs that only tell about the machine and that lxcfs replaces.
const REPLACEABLE: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// All mounts: the user's in the order in which they were given, then those that
/// the image asks for.
pub(super) fn mounts(cx: &Context<'_>) -> Result<Vec<UserMount>> {
    let mut mounts = Vec::new();
    for text in &cx.options.volume {
        mounts.push((format!("--volume {text:?}"), short(cx, text)?));
    }
    for text in &cx.options.mount {
        mounts.push((format!("--mount {text:?}"), mount_long::parse(cx, text)?));
    }
    for text in &cx.options.tmpfs {
        mounts.push((format!("--tmpfs {text:?}"), tmpfs(cx, text)?));
    }
    for (index, (flag, mount)) in mounts.iter().enumerate() {
        let target = target_of(mount);
        if mounts[..index]
            .iter()
            .any(|(_, other)| target_of(other) == target)
        {
            return Err(conflict(format!(
                "{flag}: there is another mount at {target}"
            )));
        }
    }
    let mut mounts: Vec<_> = mounts.into_iter().map(|(_, mount)| mount).collect();
    // What these say is read when the other instances are known.
    for text in &cx.options.volumes_from {
        volumes::parse_volumes_from(text)?;
    }
    mounts.extend(volumes::of_image(cx, &mounts)?);
    Ok(mounts)
}

/// `-v` with a source as it was given, but for the source: a path is absolute.
pub(super) fn binds(cx: &Context<'_>) -> Result<Vec<String>> {
    let mut binds = Vec::new();
    for text in &cx.options.volume {
        let Some((_, rest)) = text.split_once(':') else {
            continue;
        };
        binds.push(match short(cx, text)? {
            UserMount::Bind { source, .. } => format!("{source}:{rest}"),
            _ => text.clone(),
        });
    }
    Ok(binds)
}

/// Where a mount goes.
pub(in crate::workload) fn target_of(mount: &UserMount) -> &str {
    match mount {
        UserMount::Bind { target, .. }
        | UserMount::Volume { target, .. }
        | UserMount::Tmpfs { target, .. } => target,
    }
}

/// An absolute path without `.`, `..`, doubled or trailing slashes; `None` when
/// it is not absolute. `..` goes up by name: nothing is looked up.
pub(super) fn clean(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// A target that can be mounted on.
pub(super) fn check_target(flag: &str, text: &str, target: &str) -> Result<String> {
    let Some(target) = clean(target) else {
        return Err(invalid(
            flag,
            text,
            format!("the target {target:?} must be an absolute path"),
        ));
    };
    let in_proc =
        Path::new(&target).starts_with("/proc") && !REPLACEABLE.contains(&target.as_str());
    if target == "/" || target == "/dev" || in_proc {
        // What these hold is part of the wall; another mount there would hide
        // the masks or lend files of another kind to whoever trusts /proc.
        return Err(invalid(
            flag,
            text,
            format!("nothing can be mounted on {target}"),
        ));
    }
    Ok(target)
}

/// `TARGET`, `NAME:TARGET[:OPTIONS]` or `PATH:TARGET[:OPTIONS]`.
fn short(cx: &Context<'_>, text: &str) -> Result<UserMount> {
    let (source, target, options) = match text.split(':').collect::<Vec<_>>()[..] {
        [target] => return volumes::short(cx, text, None, (target, "")),
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => {
            return Err(invalid(
                "--volume",
                text,
                "not of the form SOURCE:TARGET[:OPTIONS]",
            ));
        }
    };
    if source.is_empty() {
        return Err(invalid("--volume", text, "there is no source before `:`"));
    }
    // As Docker has it: a source that does not look like a path is a name.
    if !source.starts_with(['/', '.', '~']) {
        return volumes::short(cx, text, Some(source), (target, options));
    }
    cx.wall
        .require(Feature::BindMounts, &format!("--volume {text}"))?;
    let target = check_target("--volume", text, target)?;
    let source = source_path(cx, "--volume", text, source)?;
    let mut bind = Bind {
        source,
        target,
        readonly: false,
        propagation: None,
        recursive: true,
        cached: false,
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        bind.option(cx, text, option)?;
    }
    let mount = bind.into_mount(true);
    check_propagates(cx, &format!("--volume {text}"), &mount)?;
    Ok(mount)
}

/// A bind mount in the making.
struct Bind {
    source: String,
    target: String,
    readonly: bool,
    propagation: Option<String>,
    recursive: bool,
    cached: bool,
}

impl Bind {
    fn option(&mut self, cx: &Context<'_>, text: &str, option: &str) -> Result<()> {
        match option {
            "ro" => self.readonly = true,
            "rw" => self.readonly = false,
            "rbind" => self.recursive = true,
            "bind" => self.recursive = false,
            "z" | "Z" => check_selinux(cx, "--volume", text)?,
            "nocopy" => {
                return Err(invalid(
                    "--volume",
                    text,
                    "`nocopy` is for volumes, this is a bind mount",
                ));
            }
            word if consistency(word).is_some() => self.cached = consistency(word) == Some(true),
            word if PROPAGATIONS.contains(&word) => {
                if self.propagation.replace(word.to_owned()).is_some() {
                    return Err(invalid("--volume", text, "more than one propagation"));
                }
            }
            other => return Err(invalid("--volume", text, format!("no option {other:?}"))),
        }
        Ok(())
    }

    fn into_mount(self, create_source: bool) -> UserMount {
        UserMount::Bind {
            source: self.source,
            target: self.target,
            readonly: self.readonly,
            create_source,
            propagation: self.propagation.unwrap_or_else(|| "rprivate".to_owned()),
            recursive: self.recursive,
            cached: self.cached,
        }
    }
}

/// Whether a word of Docker's about consistency lets a guest be behind the host.
/// `delegated` would let the host be behind the guest, too; what the guest writes is on
/// the host at once all the same, which is stricter. A container is never behind.
pub(super) fn consistency(word: &str) -> Option<bool> {
    match word {
        "consistent" => Some(false),
        "cached" | "delegated" => Some(true),
        _ => None,
    }
}

/// Checks a propagation by name.
pub(super) fn check_propagation(flag: &str, text: &str, word: &str) -> Result<String> {
    if PROPAGATIONS.contains(&word) {
        return Ok(word.to_owned());
    }
    Err(invalid(
        flag,
        text,
        format!(
            "no propagation {word:?}; there are {}",
            PROPAGATIONS.join(", ")
        ),
    ))
}

/// A source as an absolute, clean path.
pub(super) fn source_path(
    cx: &Context<'_>,
    flag: &str,
    text: &str,
    source: &str,
) -> Result<String> {
    if source.starts_with('~') {
        return Err(invalid(
            flag,
            text,
            "`~` is for shells to expand; give the whole path",
        ));
    }
    let path = cx.host.absolute(source);
    let path = path.to_str().and_then(clean);
    path.ok_or_else(|| invalid(flag, text, "the source is not a path that can be recorded"))
}

/// Refuses to change SELinux labels; without SELinux there are none.
pub(super) fn check_selinux(cx: &Context<'_>, flag: &str, text: &str) -> Result<()> {
    if !cx.host.selinux {
        return Ok(());
    }
    let message = format!("{flag} {text:?}: SELinux labels can't be changed yet");
    Err(Error::new(Kind::Unsupported, message))
}

/// Later mounts of the host can't be passed on through every wall.
pub(super) fn check_propagates(cx: &Context<'_>, what: &str, mount: &UserMount) -> Result<()> {
    match mount {
        UserMount::Bind { propagation, .. } if !propagation.ends_with("private") => {
            let what = format!("{what} (propagation {propagation})");
            cx.wall.require(Feature::BindPropagation, &what)
        }
        _ => Ok(()),
    }
}

/// The source of `--mount type=bind` must be there; `-v` makes a folder.
pub(super) fn check_source(cx: &Context<'_>, text: &str, source: &str) -> Result<()> {
    let found = cx.host.files.stat(Path::new(source));
    found.map(drop).map_err(|error| {
        invalid(
            "--mount",
            text,
            format!("cannot use the source {source}: {error}"),
        )
    })
}

/// `TARGET[:OPTIONS]`.
fn tmpfs(cx: &Context<'_>, text: &str) -> Result<UserMount> {
    cx.wall
        .require(Feature::Tmpfs, &format!("--tmpfs {text}"))?;
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = check_target("--tmpfs", text, target)?;
    let (mut readonly, mut noexec, mut nosuid, mut nodev) = (false, true, true, true);
    let mut data = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" => readonly = option == "ro",
            "exec" | "noexec" => noexec = option == "noexec",
            "suid" | "nosuid" => nosuid = option == "nosuid",
            "dev" | "nodev" => nodev = option == "nodev",
            _ => data.push(tmpfs_data(option).map_err(|why| invalid("--tmpfs", text, why))?),
        }
    }
    Ok(UserMount::Tmpfs {
        target,
        data: data.join(","),
        readonly,
        noexec,
        nosuid,
        nodev,
    })
}

/// Checks one option that goes to the file system itself (tmpfs(5)).
pub(super) fn tmpfs_data(option: &str) -> std::result::Result<String, String> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let amount = value
        .strip_suffix(['k', 'K', 'm', 'M', 'g', 'G'])
        .unwrap_or(value);
    let right = match name {
        "size" => number(amount) || value.strip_suffix('%').is_some_and(number),
        "nr_blocks" | "nr_inodes" => number(amount),
        "uid" | "gid" => number(value) && value.parse::<i32>().is_ok(),
        "mode" => {
            value.len() <= 5
                && !value.is_empty()
                && value.bytes().all(|b| (b'0'..=b'7').contains(&b))
        }
        _ => return Err(format!("a tmpfs has no option {name:?}")),
    };
    if right {
        Ok(option.to_owned())
    } else {
        Err(format!("{value:?} is not a value for {name:?}"))
    }
}

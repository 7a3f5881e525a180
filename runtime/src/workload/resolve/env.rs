//! Environment and labels, from options and from files.

use std::collections::BTreeMap;

use super::{Context, invalid};
use crate::error::{Error, Kind, Result};
use crate::workload::host::HostFacts;

/// Where programs are found when the image says nothing.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment of the workload: the tool's defaults, over them the image's,
/// then the files', then the flags'.
pub(super) fn environment(cx: &Context<'_>, hostname: &str) -> Result<Vec<String>> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if cx.options.tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in &cx.image.env {
        match entry.split_once('=') {
            Some((name, _)) if !name.is_empty() && !entry.contains('\0') => {
                put(&mut env, entry.clone())
            }
            _ => {
                return Err(invalid(
                    "the image's ENV",
                    entry,
                    "not of the form NAME=VALUE",
                ));
            }
        }
    }
    let user = user_entries(&cx.options.env_file, &cx.options.env, cx.host)?;
    Ok(overlay(env, user))
}

/// What a user's files and flags say, in the order in which it applies. An entry
/// without `=` takes the variable away.
pub(in crate::workload) fn user_entries(
    files: &[String],
    flags: &[String],
    host: &HostFacts<'_>,
) -> Result<Vec<String>> {
    let mut entries = Vec::new();
    for path in files {
        entries.extend(read_env_file(path, host)?);
    }
    for flag in flags {
        let name = flag.split('=').next().unwrap_or_default();
        if name.is_empty() {
            return Err(invalid("--env", flag, "no variable name before `=`"));
        }
        if flag.contains('\0') {
            return Err(invalid(
                "--env",
                flag,
                "a NUL byte can't be in the environment",
            ));
        }
        entries.push(pass_through(flag, host));
    }
    Ok(entries)
}

/// `NAME` becomes `NAME=VALUE` where the host's environment has it.
fn pass_through(entry: &str, host: &HostFacts<'_>) -> String {
    match host.env.get(entry) {
        Some(value) if !entry.contains('=') => format!("{entry}={value}"),
        _ => entry.to_owned(),
    }
}

/// `entries` over `env`: replaced in place, added at the end, or removed.
pub(in crate::workload) fn overlay(mut env: Vec<String>, entries: Vec<String>) -> Vec<String> {
    for entry in entries {
        if entry.contains('=') {
            put(&mut env, entry);
        } else {
            env.retain(|have| name_of(have) != entry);
        }
    }
    env
}

fn put(env: &mut Vec<String>, entry: String) {
    match env.iter_mut().find(|have| name_of(have) == name_of(&entry)) {
        Some(have) => *have = entry,
        None => env.push(entry),
    }
}

fn name_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or(entry)
}

/// Docker's format: one `NAME=VALUE` or `NAME` a line, `#` comments, values as
/// they stand, without quotes or escapes.
fn read_env_file(path: &str, host: &HostFacts<'_>) -> Result<Vec<String>> {
    let mut entries = Vec::new();
    for (number, line) in lines_of("--env-file", path, host)? {
        let wrong =
            |why: &str| Error::new(Kind::Invalid, format!("--env-file {path}:{number}: {why}"));
        let name = name_of(&line);
        if name.is_empty() {
            return Err(wrong("no variable name before `=`"));
        }
        if name.contains(char::is_whitespace) {
            return Err(
                wrong(&format!("the variable name {name:?} contains white space"))
                    .hint("write NAME=VALUE without `export` and without spaces around `=`"),
            );
        }
        if line.contains('=') {
            entries.push(line);
        } else if host.env.contains_key(&line) {
            entries.push(pass_through(&line, host));
        }
    }
    Ok(entries)
}

/// The lines of a file that say something, with their numbers.
fn lines_of(flag: &str, path: &str, host: &HostFacts<'_>) -> Result<Vec<(usize, String)>> {
    let bytes = host.read_option_file(flag, path)?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let mut lines = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let wrong =
            |why: &str| Error::new(Kind::Invalid, format!("{flag} {path}:{}: {why}", index + 1));
        let line = std::str::from_utf8(line).map_err(|_| wrong("not UTF-8"))?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.contains('\0') {
            return Err(wrong("a NUL byte"));
        }
        if !line.is_empty() && !line.starts_with('#') {
            lines.push((index + 1, line.to_owned()));
        }
    }
    Ok(lines)
}

/// Labels: the image's, over them the files', then the flags'.
pub(super) fn labels(cx: &Context<'_>) -> Result<BTreeMap<String, String>> {
    let mut labels = cx.image.labels.clone();
    for path in &cx.options.label_file {
        for (number, line) in lines_of("--label-file", path, cx.host)? {
            let (key, value) = split(&line);
            if key.is_empty() || key.contains(char::is_whitespace) {
                let message =
                    format!("--label-file {path}:{number}: {key:?} is not a label's name");
                return Err(Error::new(Kind::Invalid, message));
            }
            labels.insert(key, value);
        }
    }
    pairs("--label", &cx.options.label, &mut labels)?;
    Ok(labels)
}

/// Annotations: the flags' alone.
pub(super) fn annotations(cx: &Context<'_>) -> Result<BTreeMap<String, String>> {
    let mut annotations = BTreeMap::new();
    pairs("--annotation", &cx.options.annotation, &mut annotations)?;
    Ok(annotations)
}

fn split(entry: &str) -> (String, String) {
    let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
    (key.to_owned(), value.to_owned())
}

fn pairs(flag: &str, entries: &[String], into: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in entries {
        let (key, value) = split(entry);
        if key.is_empty() {
            return Err(invalid(flag, entry, "no name before `=`"));
        }
        into.insert(key, value);
    }
    Ok(())
}

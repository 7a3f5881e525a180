//! The same Dockerfiles built by buildah and by isola: file trees and configurations are
//! the same, but for what each case lists and explains. Where buildah does not know an
//! instruction's form, it gets the same said in another one.

#[path = "build_peers/buildah.rs"]
mod buildah;
#[path = "build_peers/cases.rs"]
mod cases;
#[path = "build_peers/programs.rs"]
mod programs;
#[path = "build_peers/tree.rs"]
mod tree;

use std::path::Path;

use isola_tests::{Env, behaviours};

use buildah::Buildah;
use cases::{CASES, Case, Theirs};

behaviours![
    Once small_images_are_what_buildah_makes,
    Once real_programs_are_what_buildah_makes,
];

/// The fields of a configuration that say how to run an image.
const FIELDS: [&str; 13] = [
    "ArgsEscaped",
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// What buildah leaves in the layer of every RUN: places of its own mounts. isola leaves
/// out what was not in the image.
const PLACES: [&str; 7] = [
    "/dev",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/run",
    "/sys",
];

fn small_images_are_what_buildah_makes(env: &Env) {
    let buildah = Buildah::new(env);
    let mut wrong = Vec::new();
    for case in CASES {
        let folder = env.files().join(case.name);
        cases::context(case, &folder);
        wrong.extend(compare(env, &buildah, case, &folder, &[]));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn real_programs_are_what_buildah_makes(env: &Env) {
    let buildah = Buildah::new(env);
    let toolchain = format!("toolchain={}", programs::toolchain());
    let mut wrong = Vec::new();
    for case in programs::CASES {
        let folder = env.files().join(case.name);
        cases::context(case, &folder);
        let options = ["--build-context", toolchain.as_str()];
        let options = if case.name == "compiled" {
            &options[..]
        } else {
            &[]
        };
        wrong.extend(compare(env, &buildah, case, &folder, options));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    programs::try_out(env);
}

/// Builds a case with both; what differs and is not explained, or is explained and does
/// not differ.
fn compare(
    env: &Env,
    buildah: &Buildah<'_>,
    case: &Case,
    folder: &Path,
    options: &[&str],
) -> Vec<String> {
    let file = folder.join("Dockerfile");
    std::fs::write(&file, case.dockerfile).unwrap();
    let out = env.files().join("ours.tar");
    let to = format!("type=tar,dest={}", out.display());
    let context = folder.to_str().unwrap();
    let options = [case.options, options].concat();
    let build = ["build", "-q", "--network=none", "-t", case.name];
    env.isola([&build[..], &options, &[context]].concat()).ok();
    let words = ["build", "-q", "--network=none", "-o", &to];
    env.isola([&words[..], &options, &[context]].concat()).ok();
    let ours = tree::read(&out);
    if let Theirs::Other(text) = case.theirs {
        std::fs::write(&file, text).unwrap();
    }
    let theirs = tree::read(&buildah.build(case.name, folder, &file, &options));
    let mut found = tree::differences(&ours, &theirs);
    if case.runs {
        found.retain(|(path, _)| !PLACES.contains(&path.as_str()) || ours.contains_key(&path[1..]));
    }
    let inspected = env.json(&["image", "inspect", case.name]);
    let (own, other) = (&inspected[0]["Config"], buildah.config(case.name));
    for field in FIELDS {
        let (own, other) = (plain(field, &own[field]), plain(field, &other[field]));
        if own != other {
            let text = format!("{field}: ours {own}, theirs {other}");
            found.push((field.to_owned(), text));
        }
    }
    let explained = |what: &String| case.explained.iter().any(|(known, _)| known == what);
    let mut wrong: Vec<String> = found
        .iter()
        .filter(|(what, _)| !explained(what))
        .map(|(_, text)| format!("{}: {text}", case.name))
        .collect();
    for (what, why) in case.explained {
        if !found.iter().any(|(found, _)| found == what) {
            wrong.push(format!("{}: {what} no longer differs ({why})", case.name));
        }
    }
    wrong
}

/// A field without what says nothing.
fn plain(field: &str, value: &serde_json::Value) -> serde_json::Value {
    let mut value = value.clone();
    if field == "Labels"
        && let Some(labels) = value.as_object_mut()
    {
        labels.remove("io.buildah.version");
    }
    // buildah moves what is set once more to the end.
    if field == "Env"
        && let Some(list) = value.as_array_mut()
    {
        list.sort_by_key(ToString::to_string);
    }
    let empty = match &value {
        serde_json::Value::Bool(set) => !set,
        serde_json::Value::String(text) => text.is_empty(),
        serde_json::Value::Array(list) => list.is_empty(),
        serde_json::Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if empty {
        serde_json::Value::Null
    } else {
        value
    }
}

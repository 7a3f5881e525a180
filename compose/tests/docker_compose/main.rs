//! The same files through docker-compose 1.29 (Debian's package; it needs no daemon to
//! print a project): canonical forms are compared key by key. What may differ is in
//! [`explained`], each with its reason; everything else must be the same.

mod explained;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use explained::{Of, explain};
use serde_json::Value;

/// Folders of `tests/corpus`, and the files in them in order.
const CORPUS: &[(&str, &[&str])] = &[
    ("web", &["compose.yaml"]),
    ("limits", &["compose.yaml"]),
    ("layers", &["compose.yaml", "second.yaml"]),
    ("parts", &["compose.yaml"]),
    ("builds", &["compose.yaml"]),
    ("words", &["compose.yaml"]),
];

const ENVIRONMENT: [(&str, &str); 1] = [("HOME", "/home/ada")];

/// Places where two values differ.
fn compare(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeMap<&String, ()> = a.keys().chain(b.keys()).map(|k| (k, ())).collect();
            for key in keys.into_keys() {
                let path = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => compare(&path, a, b, found),
                    (Some(a), None) => found.push(format!("{path}: only theirs: {a}")),
                    (None, Some(b)) => found.push(format!("{path}: only ours: {b}")),
                    (None, None) => {}
                }
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: theirs {a}, ours {b}")),
    }
}

fn theirs(folder: &Path, files: &[&str]) -> Value {
    let mut command = Command::new("docker-compose");
    for file in files {
        command.args(["-f", file]);
    }
    let output = command
        .args(["--profile", "tools", "config"])
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .output()
        .expect("docker-compose");
    let text = String::from_utf8(output.stdout).expect("a text");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", folder.display());
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn ours(folder: &Path, files: &[&str]) -> Value {
    let environment = ENVIRONMENT.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut request = isola_compose::Request::new(folder.to_owned(), environment.into());
    request.files = files.iter().map(PathBuf::from).collect();
    request.profiles = vec!["tools".to_owned()];
    let model = isola_compose::load(&request, &isola_compose::Host)
        .unwrap_or_else(|invalid| panic!("{}: {invalid}", folder.display()));
    serde_json::from_str(&model.to_json()).expect("JSON")
}

#[test]
fn canonical_forms_are_those_of_docker_compose() {
    let there = Command::new("docker-compose").arg("version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        // The harness keeps what tests print, but not what is written past it.
        let words = b"\nSKIPPED: docker-compose is not installed: `cargo xtask setup` does it\n";
        let _ = std::io::stderr().write_all(words);
        return;
    }
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut found = Vec::new();
    for (name, files) in CORPUS {
        let folder = corpus.join(name);
        let (mut theirs, mut ours) = (theirs(&folder, files), ours(&folder, files));
        explain(Of::Theirs, &mut theirs);
        explain(Of::Ours, &mut ours);
        compare(name, &theirs, &ours, &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

//! The store of images: killed pulls, damage, what it takes on the disk.

#[path = "../../images/tests/suite/support/fake.rs"]
#[allow(dead_code)]
mod fake;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use isola_tests::{Env, behaviours};

use crate::registry::{Registry, inspect, names};
use fake::{Fake, Reply, Seen, Served};

behaviours![
    Once a_killed_pull_leaves_nothing_but_what_is_used_again,
    Once a_pull_can_be_killed_at_any_point,
    Once damage_is_found_and_mended,
    Once usage_and_history_are_told,
];

/// The small image as a registry has it.
fn served(env: &Env) -> Served {
    let archive = env.files().join("served.tar");
    env.isola(["save", "-o", archive.to_str().unwrap(), "box"])
        .ok();
    let mut served: Served = HashMap::new();
    let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let Some(hex) = path
            .strip_prefix("blobs/sha256/")
            .filter(|hex| !hex.is_empty())
        else {
            continue;
        };
        let digest = format!("sha256:{hex}");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        served.insert(format!("/v2/box/blobs/{digest}"), ("x", bytes.clone()));
        if digest == inspect(env, "box", "{{.Descriptor.digest}}") {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            served.insert("/v2/box/manifests/latest".into(), (kind, bytes));
        }
    }
    served
}

fn a_killed_pull_leaves_nothing_but_what_is_used_again(env: &Env) {
    let served = served(env);
    let large = served.values().map(|(_, bytes)| bytes.len()).max().unwrap();
    let bytes: Vec<_> = served.values().map(|(_, bytes)| bytes.clone()).collect();
    let whole = bytes
        .into_iter()
        .find(|bytes| bytes.len() == large)
        .unwrap();
    let path = served
        .iter()
        .find(|(_, (_, bytes))| bytes.len() == large)
        .unwrap()
        .0
        .clone();
    let mischief = move |seen: &Seen| {
        let slow = seen.path == path && seen.before == 0;
        slow.then(|| Reply::Slow(whole.clone(), 100_000))
    };
    let fake = env.host().inside(|| Fake::new(served, Box::new(mischief)));
    env.isola(["rmi", "box"]).ok();
    let count = |folder: &str| {
        let path = env.root().join("images").join(folder);
        std::fs::read_dir(path).unwrap().count()
    };
    let name = format!("{}/box", fake.host);
    let pull = env.start(["pull", &name]);
    let until = Instant::now() + Duration::from_secs(60);
    while count("tmp") < 2 {
        assert!(Instant::now() < until, "the pull does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    pull.signal(9);
    pull.wait();
    assert_eq!(names(env), "");
    assert_eq!((count("layers"), count("blobs/sha256")), (0, 0));
    assert!(count("tmp") > 0, "the pull was over before it was killed");
    env.isola(["pull", &name]).ok();
    assert_eq!(count("tmp"), 0, "what the killed one left is gone");
    let output = env.isola(["run", "--rm", &name, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n");
}

fn a_pull_can_be_killed_at_any_point(env: &Env) {
    let served = served(env);
    env.isola(["rmi", "box"]).ok();
    // Everything takes a while, so that there are many points.
    let slow = served.clone();
    let mischief = move |seen: &Seen| {
        let (_, bytes) = slow.get(&seen.path)?;
        Some(Reply::Slow(bytes.clone(), bytes.len() * 6 + 1))
    };
    let fake = env.host().inside(|| Fake::new(served, Box::new(mischief)));
    let name = format!("{}/box", fake.host);
    let mut ended = 0;
    for number in 0..14 {
        let pull = env.start(["pull", &name]);
        std::thread::sleep(Duration::from_millis(60 * number));
        pull.signal(9);
        ended += usize::from(pull.wait().code == 0);
        env.isola(["system", "check", "--quiet"]).ok();
        if ended == 0 {
            assert_eq!(names(env), "", "the image is there or not");
        }
    }
    assert!(ended < 14, "no pull was killed");
    env.isola(["pull", &name]).ok();
    let checked = env.isola(["system", "check", "--quiet"]).ok();
    assert!(checked.stdout.ends_with("no damage\n"), "{checked:?}");
    let output = env.isola(["run", "--rm", &name, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n");
}

/// The only file of a folder of the store that is large enough to be a layer.
fn largest(env: &Env, folder: &str) -> std::path::PathBuf {
    let files = std::fs::read_dir(env.root().join("images").join(folder)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files
        .max_by_key(|file| file.metadata().unwrap().len())
        .unwrap()
}

fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(path, bytes).unwrap();
}

fn damage_is_found_and_mended(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/box:1", registry.host);
    env.isola(["tag", "box", &name]).ok();
    env.isola(["push", "-q", &name]).ok();
    // The files of the tests' own image are those of all tests.
    env.isola(["rmi", &name, "box"]).ok();
    env.isola(["pull", "-q", &name]).ok();
    let check = |words: &[&str]| env.isola([&["system", "check"], words].concat());
    assert!(check(&[]).ok().stdout.ends_with("no damage\n"));
    spoil(&largest(env, "layers"));
    let output = check(&["--quiet"]).exits(1);
    assert!(output.stdout.contains("damaged from byte"), "{output:?}");
    assert!(output.stderr.contains("--repair"), "{output:?}");
    let output = check(&["--repair"]).ok();
    assert!(output.stdout.contains("; made anew"), "{output:?}");
    let output = env.isola(["run", "--rm", &name, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n");
    let blob = largest(env, "blobs/sha256");
    spoil(&blob);
    let output = check(&["--repair", "--quiet"]).exits(1);
    assert!(
        output.stdout.contains(&name) && output.stdout.contains("; removed"),
        "{output:?}"
    );
    assert!(!blob.exists());
    let findings = check(&["--quiet", "--format", "json"]).exits(1).stdout;
    let findings: serde_json::Value = serde_json::from_str(&findings).unwrap();
    assert_eq!(findings["Findings"][0]["Wrong"], "it is missing");
    env.isola(["pull", "-q", &name]).ok();
    check(&[]).ok();
    assert!(blob.exists());
    // What lacks more than can be made here is pulled again to be run.
    let config = inspect(env, &name, "{{.Id}}").replace("sha256:", "");
    std::fs::remove_file(blob.with_file_name(config)).unwrap();
    env.isola(["system", "df"]).ok();
    env.isola(["run", "--rm", "--pull", "never", &name, "true"])
        .fails(125, "is missing");
    let output = env.isola(["run", "--rm", &name, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n");
    check(&[]).ok();
}

fn usage_and_history_are_told(env: &Env) {
    env.isola(["tag", "box", "box:2"]).ok();
    env.isola(["create", "--name", "aa", "box"]).ok();
    let table = env.isola(["system", "df"]).ok().stdout;
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines[1].starts_with("Images") && lines[2].starts_with("Containers"),
        "{table}"
    );
    let active = env
        .isola(["system", "df", "--format", "{{.Active}}/{{.TotalCount}}"])
        .ok();
    assert_eq!(active.stdout, "1/1\n0/1\n0/0\n");
    assert!(
        env.isola(["system", "df", "-v"])
            .ok()
            .stdout
            .contains("box:2")
    );
    let steps = env
        .isola(["history", "--format", "{{.ID}} {{.Size}}", "box"])
        .ok()
        .stdout;
    let (id, size) = steps.lines().next().unwrap().split_once(' ').unwrap();
    assert_eq!(
        id,
        env.isola(["images", "-q", "box"])
            .ok()
            .stdout
            .lines()
            .next()
            .unwrap()
    );
    assert!(steps.contains("MB"), "{size} of {steps}");
    env.isola(["image", "prune", "--all", "--force"]).ok();
    assert!(names(env).contains("box:2"), "it is in use");
    let output = env
        .isola(["system", "prune", "--all", "--force"])
        .ok()
        .stdout;
    assert!(output.contains("Total reclaimed space"), "{output}");
    assert_eq!(names(env), "");
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
}

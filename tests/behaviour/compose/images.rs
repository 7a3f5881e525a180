//! What registries are asked for: again after a time, and for digests.

use std::fs::File;
use std::time::{Duration, SystemTime};

use isola_tests::{Env, behaviours};
use serde_json::Value;

use super::Stack;
use super::habits::publish;
use crate::registry::{Registry, inspect};

behaviours![
    Once a_pull_is_repeated_when_it_is_old,
    Once digests_are_those_of_the_registry,
];

/// The last pull of everything was so long ago.
fn age(env: &Env, hours: u64) {
    let folder = env.root().join("images/asked");
    let then = SystemTime::now() - Duration::from_secs(hours * 3600 + 60);
    let entries: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
    assert!(!entries.is_empty());
    for entry in entries {
        let file = File::options().write(true).open(entry.path()).unwrap();
        file.set_modified(then).unwrap();
    }
}

fn a_pull_is_repeated_when_it_is_old(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/team/said:1", registry.host);
    let text = |lines: &str| {
        format!(
            "services:\n  aa:\n    image: {name}\n    init: true\n    command: sleep 1000\n    {lines}\n"
        )
    };
    let stack = Stack::new(env, "");
    // What `up` finds that has this policy, when the registry has something newer.
    let up = |lines: &str, hours: u64, word: &str| {
        stack.write(&text(lines));
        age(env, hours);
        let dry = stack.run(&["up", "--dry-run"]).ok().stdout;
        stack.run(&["up", "-d", "-t", "1"]).ok();
        let words = ["exec", "-T", "aa", "cat", "/etc/word"];
        let found = stack.run(&words).ok().stdout;
        assert_eq!(found, word, "{lines}, {hours} hours");
        dry.contains("pull image")
    };
    publish(env, &name, "one");
    // It is missing, so it comes whatever the time.
    stack.write(&text("pull_policy: every_12h"));
    stack.run(&["up", "-d"]).ok();
    env.isola(["tag", &name, "kept"]).ok();
    publish(env, &name, "two");
    env.isola(["tag", "kept", &name]).ok();
    assert!(!up("pull_policy: every_12h", 11, "one"));
    assert!(!up("pull_policy: daily", 23, "one"));
    assert!(!up("pull_policy: weekly", 167, "one"));
    let refresh = "pull_policy: refresh\n    pull_refresh_after: 2h";
    assert!(!up(refresh, 1, "one"));
    assert!(up("pull_policy: every_12h", 12, "two"));
    for (lines, hours) in [
        ("pull_policy: daily", 24),
        ("pull_policy: weekly", 168),
        ("pull_policy: every_1d12h", 36),
        (refresh, 2),
        ("pull_policy: refresh", 0),
    ] {
        env.isola(["tag", "kept", &name]).ok();
        assert!(up(lines, hours, "two"), "{lines}");
        // That pull counts from now on.
        env.isola(["tag", "kept", &name]).ok();
        let again = stack.run(&["up", "--dry-run"]).ok().stdout;
        let due = lines == "pull_policy: refresh";
        assert_eq!(again.contains("pull image"), due, "{lines}: {again}");
    }
    // Whoever asks for it by hand, or has it gone, need not wait.
    stack.write(&text("pull_policy: daily"));
    let dry = ["up", "--dry-run", "--pull", "always"];
    assert!(stack.run(&dry).ok().stdout.contains("pull image"));
    env.isola(["rmi", "-f", &name]).ok();
    let dry = stack.run(&["up", "--dry-run"]).ok().stdout;
    assert!(dry.contains("pull image"), "{dry}");
    // A registry that is away matters only when it has to be asked.
    env.isola(["tag", "kept", &name]).ok();
    drop(registry);
    assert!(!up("pull_policy: daily", 1, "one"));
    age(env, 25);
    stack
        .run(&["up", "-d"])
        .fails(1, "cannot reach the registry");
    stack.down();
}

fn digests_are_those_of_the_registry(env: &Env) {
    let registry = Registry::plain(env);
    let repository = format!("{}/team/said", registry.host);
    let name = format!("{repository}:1");
    publish(env, &name, "one");
    env.isola(["pull", "-q", &name]).ok();
    let first = inspect(env, &name, "{{.Descriptor.digest}}");
    // The registry's is another now than the one that is here.
    publish(env, &name, "two");
    env.isola(["pull", "-q", &name]).ok();
    let second = inspect(env, &name, "{{.Descriptor.digest}}");
    assert_ne!(first, second);
    env.isola(["rmi", "-f", &name]).ok();
    let text = format!(
        "services:\n  aa: {{image: '{name}', init: true, command: sleep 1000}}\n  bb: {{image: '{repository}@{first}', init: true, command: sleep 1000}}\n"
    );
    let stack = Stack::new(env, &text);
    let read = |words: &[&str]| -> Value {
        let words = [&["config", "--format", "json"], words].concat();
        serde_json::from_str(&stack.run(&words).ok().stdout).unwrap()
    };
    let pinned = format!("{repository}@{second}");
    let resolved = read(&["--resolve-image-digests"]);
    assert_eq!(resolved["services"]["aa"]["image"], pinned);
    let kept = format!("{repository}@{first}");
    assert_eq!(resolved["services"]["bb"]["image"], kept);
    assert_eq!(resolved["services"]["aa"]["command"][0], "sleep");
    // Nothing was pulled for it.
    assert!(!crate::registry::names(env).contains(&repository));
    let lock = stack.run(&["config", "--lock-image-digests"]).ok().stdout;
    let wanted = format!("services:\n  aa:\n    image: {pinned}\n  bb:\n    image: {kept}\n");
    assert_eq!(lock, wanted);
    // The lock goes over the file, and what runs is what was locked.
    stack.put("lock.yaml", &lock);
    publish(env, &name, "three");
    let path = |file: &str| env.files().join("proj").join(file).display().to_string();
    let (file, over) = (path("compose.yaml"), path("lock.yaml"));
    let compose = |words: &[&str]| {
        let files = ["compose", "-f", file.as_str(), "-f", over.as_str()];
        env.isola([&files[..], words].concat())
    };
    compose(&["up", "-d"]).ok();
    for (service, word) in [("aa", "two"), ("bb", "one")] {
        let output = compose(&["exec", "-T", service, "cat", "/etc/word"]);
        assert_eq!(output.ok().stdout, word);
    }
    compose(&["down", "-t", "1"]).ok();
    drop(registry);
    stack
        .run(&["config", "--lock-image-digests"])
        .fails(1, "cannot reach the registry");
}

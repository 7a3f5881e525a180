//! Health checks: by flags and by the image, behind each wall.

use std::time::{Duration, Instant};

use isola_tests::{Env, behaviours};

behaviours![
    Every a_check_decides_and_changes_its_mind,
    Every an_images_check_is_used_unless_told_not_to,
    Every a_check_that_hangs_is_ended,
    Every failures_at_the_start_do_not_count,
    Once checks_that_make_no_sense_are_refused,
];

/// Waits until a field of `inspect` is as expected.
fn until(env: &Env, name: &str, template: &str, expected: &str) {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let found = env.inspect(name, template);
        if found == expected {
            return;
        }
        assert!(Instant::now() < end, "{name}: {template} is {found}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const STATUS: &str = "{{.State.Health.Status}}";

fn a_check_decides_and_changes_its_mind(env: &Env) {
    let flags = [
        "--init",
        "--health-cmd",
        "echo looking; test -e /tmp/good",
        "--health-interval",
        "200ms",
        "--health-retries",
        "2",
    ];
    env.detached("aa", &flags, &["sleep", "1000"]);
    until(env, "aa", STATUS, "unhealthy");
    let ps = |filter: &str| {
        let words = [
            "ps",
            "--filter",
            filter,
            "--format",
            "{{.Names}} {{.Status}}",
        ];
        env.isola(words).ok().stdout
    };
    assert!(ps("health=unhealthy").contains("(unhealthy)"));
    assert_eq!(ps("health=healthy"), "");
    env.exec("aa", &["touch", "/tmp/good"]).ok();
    until(env, "aa", STATUS, "healthy");
    assert!(ps("health=healthy").starts_with("aa Up "));
    assert_eq!(env.inspect("aa", "{{.State.Health.FailingStreak}}"), "0");
    let log = env.json(&["inspect", "aa"])[0]["State"]["Health"]["Log"].clone();
    let runs = log.as_array().expect("runs");
    assert!((1..=5).contains(&runs.len()), "{log}");
    let last = runs.last().expect("a run");
    assert_eq!(last["Output"], "looking\n");
    assert_eq!(last["ExitCode"], 0);
    env.exec("aa", &["rm", "/tmp/good"]).ok();
    until(env, "aa", STATUS, "unhealthy");
    assert_eq!(
        env.inspect("aa", "{{.State.Status}}"),
        "running",
        "it is told, not ended"
    );
    env.isola(["stop", "-t", "1", "aa"]).ok();
    assert_eq!(ps("health=unhealthy"), "");
    env.isola(["start", "aa"]).ok();
    // A new run begins without a verdict, and soon has one again.
    until(env, "aa", STATUS, "unhealthy");
    assert!(ps("health=unhealthy").contains("(unhealthy)"));
}

fn an_images_check_is_used_unless_told_not_to(env: &Env) {
    env.detached("aa", &["--init"], &["sleep", "1000"]);
    let archive = env.files().join("box.tar");
    let archive = archive.to_str().expect("a path");
    std::fs::write(archive, isola_tests::busybox_layer()).expect("the layer");
    let change = "HEALTHCHECK --interval=200ms --retries=1 CMD [\"/bin/true\"]";
    env.isola([
        "import",
        "--change",
        "CMD [\"/bin/sh\"]",
        "--change",
        "ENV PATH=/bin",
        "--change",
        change,
        archive,
        "checked",
    ])
    .ok();
    let run = |name: &str, flags: &[&str]| {
        let words = [
            &["run", "-d", "--init", "--name", name],
            flags,
            &["checked", "sleep", "1000"],
        ];
        env.isola(words.concat()).ok();
    };
    run("bb", &[]);
    until(env, "bb", STATUS, "healthy");
    run("cc", &["--health-cmd", "exit 3"]);
    until(env, "cc", STATUS, "unhealthy");
    assert_eq!(
        env.inspect("cc", "{{json .Config.Healthcheck.Test}}"),
        "[\"CMD-SHELL\",\"exit 3\"]"
    );
    run("dd", &["--no-healthcheck"]);
    let all = env.json(&["inspect", "aa", "dd"]);
    for index in 0..2 {
        assert!(
            all[index]["State"].get("Health").is_none(),
            "{}",
            all[index]["State"]
        );
    }
    let none = env
        .isola(["ps", "--filter", "health=none", "--format", "{{.Names}}"])
        .ok()
        .stdout;
    assert_eq!(none, "dd\naa\n");
}

fn a_check_that_hangs_is_ended(env: &Env) {
    let flags = [
        "--init",
        "--health-cmd",
        "exec sleep 1000",
        "--health-interval",
        "100ms",
        "--health-timeout",
        "300ms",
        "--health-retries",
        "1",
    ];
    env.detached("aa", &flags, &["sleep", "1001"]);
    until(env, "aa", STATUS, "unhealthy");
    let log = env.inspect("aa", "{{json .State.Health.Log}}");
    assert!(
        log.contains("300 ms") && log.contains("\"ExitCode\":-1"),
        "{log}"
    );
}

fn failures_at_the_start_do_not_count(env: &Env) {
    let flags = [
        "--init",
        "--health-cmd",
        "echo again >> /tmp/tries; test -e /tmp/good",
        "--health-interval",
        "100ms",
        "--health-start-period",
        "1000s",
        "--health-start-interval",
        "100ms",
        "--health-retries",
        "1",
    ];
    env.ready("aa", &flags, &["sh", "-c", "echo ready; while ! grep -c . /tmp/tries | grep -q 4; do sleep 0.1; done; echo tried; sleep 1000"]);
    env.start(["logs", "-f", "aa"]).expect("tried");
    assert_eq!(env.inspect("aa", STATUS), "starting");
    env.exec("aa", &["touch", "/tmp/good"]).ok();
    until(env, "aa", STATUS, "healthy");
}

fn checks_that_make_no_sense_are_refused(env: &Env) {
    for (flags, part) in [
        (&["--no-healthcheck", "--health-cmd", "x"][..], "contradict"),
        (
            &["--health-cmd", "x", "--health-interval", "5"],
            "--health-interval",
        ),
        (
            &["--health-cmd", "x", "--health-retries", "-1"],
            "--health-retries",
        ),
    ] {
        env.run(flags, &["true"]).fails(125, part);
    }
}

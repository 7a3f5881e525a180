//! Events: what is told of instances, networks, volumes and images, behind each wall.

use isola_tests::{Env, behaviours};

behaviours![
    Every a_life_is_told_in_order,
    Every an_end_tells_its_code,
    Every restarts_by_policy_are_told,
    Every verdicts_of_health_are_told_when_they_change,
    Every networks_and_volumes_are_told,
    Every a_killed_supervisors_end_is_told_by_others,
    Container events_are_followed,
    Once images_are_told,
    Once spans_filters_and_formats,
    Once what_can_not_be_is_refused,
];

/// All events so far that fit the filters, each by a template.
fn told(env: &Env, filters: &[&str], template: &str) -> Vec<String> {
    let mut words = vec![
        "events", "--since", "0", "--until", "0s", "--format", template,
    ];
    words.extend(filters.iter().flat_map(|filter| ["--filter", *filter]));
    let text = env.isola(words).ok().stdout;
    text.lines().map(str::to_owned).collect()
}

/// What happened to an instance.
fn actions(env: &Env, name: &str) -> Vec<String> {
    told(env, &[&format!("container={name}")], "{{.Action}}")
}

fn a_life_is_told_in_order(env: &Env) {
    let id = env.detached("aa", &["--init", "--label", "tier=one"], &["sleep", "1000"]);
    env.exec("aa", &["sh", "-c", "exit 3"]).exits(3);
    env.isola(["pause", "aa"]).ok();
    env.isola(["unpause", "aa"]).ok();
    env.isola(["kill", "-s", "HUP", "aa"]).ok();
    env.isola(["wait", "aa"]).exits(0);
    env.isola(["start", "aa"]).ok();
    env.isola(["restart", "-t", "9", "aa"]).ok();
    env.isola(["stop", "-t", "9", "aa"]).ok();
    env.isola(["rename", "aa", "bb"]).ok();
    env.isola(["rm", "bb"]).ok();
    let expected = [
        "create",
        "start",
        "exec_create: sh -c exit 3",
        "exec_start: sh -c exit 3",
        "exec_die",
        "pause",
        "unpause",
        "kill",
        "die",
        "start",
        "kill",
        "die",
        "stop",
        "start",
        "restart",
        "kill",
        "die",
        "stop",
        "rename",
        "destroy",
    ];
    assert_eq!(actions(env, &id), expected);
    let one = |event: &str, template: &str| told(env, &["type=container", event], template);
    let field = |name: &str| format!("{{{{.Actor.Attributes.{name}}}}}");
    assert_eq!(one("event=exec_die", &field("exitCode")), ["3"]);
    assert_eq!(one("event=kill", &field("signal")), ["1", "15", "15"]);
    assert_eq!(one("event=die", &field("exitCode")), ["129", "143", "143"]);
    assert_eq!(
        one("event=rename", &(field("oldName") + " " + &field("name"))),
        ["aa bb"]
    );
    let start = one(
        "event=create",
        &[
            field("image"),
            field("isolation"),
            field("tier"),
            "{{.Actor.ID}}".to_owned(),
        ]
        .join(" "),
    );
    assert_eq!(start, [format!("box {} one {id}", env.wall().name())]);
}

fn an_end_tells_its_code(env: &Env) {
    env.run(&["--name", "aa"], &["sh", "-c", "exit 7"]).exits(7);
    assert_eq!(
        actions(env, "aa"),
        ["create", "attach", "start", "die", "destroy"]
    );
    let die = told(
        env,
        &["event=die"],
        "{{.Actor.Attributes.exitCode}} {{.Actor.Attributes.execDuration}}",
    );
    assert!(die.len() == 1 && die[0].starts_with("7 "), "{die:?}");
    env.run(&["--name", "bb"], &["/nosuch"]).exits(127);
    assert_eq!(
        actions(env, "bb"),
        ["create", "attach", "destroy"],
        "it never started"
    );
    env.detached("cc", &["--init"], &["sleep", "1000"]);
    env.isola(["rm", "-f", "cc"]).ok();
    assert_eq!(
        actions(env, "cc"),
        ["create", "start", "kill", "die", "destroy"]
    );
    // What is copied is no part of its life.
    env.isola(["create", "--name", "dd", "box", "true"]).ok();
    let out = env.files().join("passwd");
    env.isola(["cp", "dd:/bin/sh", &out.to_string_lossy()]).ok();
    assert_eq!(actions(env, "dd"), ["create"]);
}

fn restarts_by_policy_are_told(env: &Env) {
    env.detached(
        "aa",
        &["--restart", "on-failure:2"],
        &["sh", "-c", "exit 4"],
    );
    isola_tests::until("it has ended three times", || {
        env.inspect("aa", "{{.State.Status}} {{.RestartCount}}") == "exited 2"
    });
    let expected = ["create", "start", "die", "start", "die", "start", "die"];
    assert_eq!(actions(env, "aa"), expected);
}

fn verdicts_of_health_are_told_when_they_change(env: &Env) {
    let flags = [
        "--init",
        "--health-cmd",
        "test -e /tmp/good",
        "--health-interval",
        "200ms",
        "--health-retries",
        "1",
    ];
    env.detached("aa", &flags, &["sleep", "1000"]);
    let verdicts = || told(env, &["event=health_status"], "{{.Action}}");
    isola_tests::until("it is unhealthy", || verdicts().len() == 1);
    env.exec("aa", &["touch", "/tmp/good"]).ok();
    isola_tests::until("it is healthy", || verdicts().len() == 2);
    assert_eq!(
        verdicts(),
        ["health_status: unhealthy", "health_status: healthy"]
    );
    let execs = told(env, &["event=exec_start"], "{{.Action}}");
    assert_eq!(execs, ["exec_start: touch /tmp/good"], "not the checks");
}

fn networks_and_volumes_are_told(env: &Env) {
    env.isola(["network", "create", "lan"]).ok();
    let id = env.detached(
        "aa",
        &[
            "--init",
            "--network",
            "lan",
            "-v",
            "data:/data",
            "-v",
            "/other",
        ],
        &["sleep", "1000"],
    );
    env.isola(["network", "create", "more"]).ok();
    env.isola(["network", "connect", "more", "aa"]).ok();
    env.isola(["network", "disconnect", "more", "aa"]).ok();
    env.isola(["rm", "-f", "-v", "aa"]).ok();
    env.isola(["network", "rm", "lan", "more"]).ok();
    env.isola(["volume", "rm", "data"]).ok();
    let networks = told(
        env,
        &["type=network"],
        "{{.Action}} {{.Actor.Attributes.name}}",
    );
    let expected = [
        "create lan",
        "connect lan",
        "create more",
        "connect more",
        "disconnect more",
        "disconnect lan",
        "destroy lan",
        "destroy more",
    ];
    assert_eq!(networks, expected);
    let joined = told(env, &["event=connect"], "{{.Actor.Attributes.container}}");
    assert_eq!(joined, [&id[..], &id[..]]);
    assert_eq!(
        told(env, &["network=more"], "{{.Action}}"),
        ["create", "connect", "disconnect", "destroy"]
    );
    let volume = told(env, &["volume=data"], "{{.Action}}");
    assert_eq!(volume, ["create", "mount", "unmount", "destroy"]);
    let mount = told(
        env,
        &["volume=data", "event=mount"],
        "{{.Actor.Attributes.destination}} {{index .Actor.Attributes \"read/write\"}}",
    );
    assert_eq!(mount, ["/data true"]);
    let all = told(env, &["type=volume"], "{{.Action}}");
    assert_eq!(
        all.iter().filter(|action| *action == "destroy").count(),
        2,
        "{all:?}"
    );
}

fn a_killed_supervisors_end_is_told_by_others(env: &Env) {
    env.detached("aa", &["--init"], &["sleep", "1000"]);
    let pid = env.inspect("aa", "{{.State.SupervisorPid}}");
    let pid = rustix::process::Pid::from_raw(pid.parse().expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    isola_tests::until("its end is found", || {
        env.inspect("aa", "{{.State.Status}}") == "exited"
    });
    assert_eq!(actions(env, "aa"), ["create", "start", "die"]);
    env.isola(["start", "aa"]).ok();
    assert_eq!(actions(env, "aa"), ["create", "start", "die", "start"]);
    let joins = told(env, &["type=network"], "{{.Action}}");
    assert_eq!(joins, ["create", "connect", "disconnect", "connect"]);
}

fn events_are_followed(env: &Env) {
    env.run(&["--name", "before"], &["true"]).ok();
    let mut all = env.start([
        "events",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}}",
    ]);
    let mut some = env.start([
        "events",
        "--since",
        "0",
        "--filter",
        "event=die",
        "--format",
        "{{.Actor.Attributes.name}}",
    ]);
    some.expect("before\n");
    // Something that is only told once the first one listens.
    isola_tests::until("it listens", || {
        env.isola(["volume", "create", "vv"]).ok();
        env.isola(["volume", "rm", "vv"]).ok();
        all.seen().contains("destroy")
    });
    env.run(&["--name", "aa"], &["true"]).ok();
    all.expect("start aa\n");
    all.expect("die aa\n");
    some.expect("before\naa\n");
    all.signal(2);
    assert!(
        !all.wait().stdout.contains("before"),
        "the past was not asked for"
    );
    some.signal(2);
    some.wait();
    let later = env
        .isola(["events", "--until", "1970-01-01T00:00:00Z"])
        .ok();
    assert_eq!(later.stdout, "");
    let end = seconds_from_now(2);
    let ends = env.start(["events", "--until", &end, "--format", "{{.Action}}"]);
    env.run(&["--name", "bb"], &["true"]).ok();
    assert!(ends.wait().ok().stdout.contains("destroy\n"));
}

/// Seconds since the epoch, so many from now.
fn seconds_from_now(seconds: u64) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time");
    (now.as_secs() + seconds).to_string()
}

fn images_are_told(env: &Env) {
    let archive = env.files().join("box.tar");
    env.isola(["save", "-o", &archive.to_string_lossy(), "box"])
        .ok();
    env.isola(["tag", "box", "other:1"]).ok();
    env.isola(["rmi", "other:1"]).ok();
    env.isola(["rmi", "box"]).ok();
    env.isola(["load", "-i", &archive.to_string_lossy()]).ok();
    let layer = env.files().join("layer.tar");
    std::fs::write(&layer, isola_tests::busybox_layer()).expect("a layer");
    env.isola(["import", &layer.to_string_lossy(), "busy"]).ok();
    let folder = env.files().join("context");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("Dockerfile"), "FROM box\nLABEL a=b\n").expect("a file");
    env.isola(["build", "-q", "-t", "made", &folder.to_string_lossy()])
        .ok();
    let all = told(
        env,
        &["type=image"],
        "{{.Action}} {{.Actor.Attributes.name}}",
    );
    let id = env.inspect("box", "{{.Id}}");
    let made = env.inspect("made", "{{.Id}}");
    let deleted = format!("delete {id}");
    let built = format!("build {made}");
    let expected = [
        "save box:latest",
        "tag other:1",
        "untag other:1",
        "untag box:latest",
        &deleted,
        "load box:latest",
        "import busy:latest",
        "tag made:latest",
        &built,
    ];
    assert_eq!(all, expected);
    assert_eq!(told(env, &["image=other"], "{{.Action}}"), ["tag", "untag"]);
}

fn spans_filters_and_formats(env: &Env) {
    env.run(&["--name", "aa", "--label", "a=1"], &["true"]).ok();
    env.run(&["--name", "bb", "--label", "a=2"], &["true"]).ok();
    let names = |filters: &[&str]| told(env, filters, "{{.Actor.Attributes.name}}");
    assert_eq!(names(&["label=a=2", "event=start"]), ["bb"]);
    assert_eq!(names(&["label=a", "event=start"]), ["aa", "bb"]);
    assert_eq!(names(&["image=box", "event=start", "container=aa"]), ["aa"]);
    assert_eq!(
        names(&["event=start", "event=die", "container=bb"]),
        ["bb", "bb"]
    );
    assert_eq!(names(&["event=start", "isolation=nosuch"]).len(), 0);
    let json = env
        .isola([
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "--filter",
            "container=aa",
            "--filter",
            "event=die",
            "--format",
            "json",
        ])
        .ok()
        .stdout;
    let value: serde_json::Value = serde_json::from_str(&json).expect("one object");
    assert_eq!(value["Action"], "die");
    assert_eq!(value["status"], "die");
    assert_eq!(value["from"], "box");
    assert_eq!(value["Actor"]["Attributes"]["exitCode"], "0");
    assert_eq!(value["id"], value["Actor"]["ID"]);
    let nano = value["timeNano"].as_u64().expect("a number");
    assert_eq!(value["time"].as_u64(), Some(nano / 1_000_000_000));
    // The very moment is in both spans, what follows it in one.
    let at = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    let span = |words: &[&str]| {
        let fixed = ["--filter", "container=aa", "--format", "{{.Action}}"];
        let text = env.isola([&["events"], words, &fixed].concat()).ok().stdout;
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        span(&["--until", &at]),
        ["create", "attach", "start", "die"]
    );
    assert_eq!(span(&["--since", &at, "--until", "0s"]), ["die", "destroy"]);
    let line = env
        .isola([
            "events",
            "--since",
            "0",
            "--until",
            "0s",
            "--filter",
            "event=die",
            "--filter",
            "container=aa",
        ])
        .ok()
        .stdout;
    assert!(
        line.contains(" container die ")
            && line.contains("(a=1, execDuration=0, exitCode=0, image=box, "),
        "{line}"
    );
}

fn what_can_not_be_is_refused(env: &Env) {
    for (words, part) in [
        (&["--filter", "nosuch=1"][..], "nosuch"),
        (&["--filter", "type=daemon"], "daemon"),
        (&["--since", "yesterday"], "--since"),
        (&["--until", "x"], "--until"),
        (&["--format", "{{.Nosuch"], "template"),
    ] {
        env.isola([&["events"], words].concat()).fails(1, part);
    }
}

//! Life of a stack: up, down, what is shown of it.

use isola_tests::{Env, behaviours};

use super::Stack;

behaviours![
    Every a_stack_goes_up_and_down,
    Every up_again_does_nothing,
    Every stop_and_start_keep_instances,
    Every exec_reaches_an_instance_by_number,
    Every logs_of_several_services_are_told_apart,
    Every attached_until_a_signal,
    Every logs_are_followed_across_a_restart,
    Every each_service_has_its_wall,
    Once a_dry_run_changes_nothing,
    Once what_cannot_be_is_refused_before_anything_is_made,
    Every a_project_is_known_by_its_labels,
];

const PAIR: &str = "
services:
  web:
    image: box
    init: true
    command: [sh, -c, 'echo web is here; exec sleep 1000']
    depends_on: [db]
    volumes: ['data:/data']
  db:
    image: box
    init: true
    command: [sh, -c, 'echo db is here; exec sleep 1000']
    volumes: ['data:/data']
volumes:
  data:
";

fn a_stack_goes_up_and_down(env: &Env) {
    let stack = Stack::new(env, PAIR);
    let up = stack.run(&["up", "-d"]).ok();
    for words in [
        "Network default  Created",
        "Volume data  Created",
        "proj-web-1  Started",
    ] {
        assert!(up.stderr.contains(words), "{}", up.stderr);
    }
    let at = |words: &str| {
        up.stderr
            .find(words)
            .unwrap_or_else(|| panic!("{words}: {}", up.stderr))
    };
    assert!(at("proj-db-1  Started") < at("proj-web-1  Started"));
    assert_eq!(stack.states(), ["proj-db-1 running", "proj-web-1 running"]);
    let labels = env.inspect("proj-web-1", "{{json .Config.Labels}}");
    for label in [
        "\"com.docker.compose.project\":\"proj\"",
        "\"com.docker.compose.service\":\"web\"",
        "\"com.docker.compose.container-number\":\"1\"",
        "\"com.docker.compose.depends_on\":\"db:service_started:false\"",
        "\"com.docker.compose.oneoff\":\"False\"",
    ] {
        assert!(labels.contains(label), "{label}: {labels}");
    }
    // One name server for both.
    stack
        .run(&["exec", "-T", "web", "ping", "-c", "1", "db"])
        .ok();
    stack
        .run(&[
            "exec",
            "-T",
            "web",
            "sh",
            "-c",
            "echo shared > /data/x; sync",
        ])
        .ok();
    assert_eq!(
        stack
            .run(&["exec", "-T", "db", "cat", "/data/x"])
            .ok()
            .stdout,
        "shared\n"
    );
    let ls = env.isola(["compose", "ls"]).ok().stdout;
    assert!(ls.contains("proj") && ls.contains("running(2)"), "{ls}");
    let down = stack.run(&["down", "-t", "1"]).ok();
    let at = |words: &str| {
        down.stderr
            .find(words)
            .unwrap_or_else(|| panic!("{words}: {}", down.stderr))
    };
    assert!(
        at("proj-web-1  Stopped") < at("proj-db-1  Stopped"),
        "dependents first"
    );
    assert!(at("proj-db-1  Removed") < at("Network proj_default  Removed"));
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
    let volumes = env.isola(["volume", "ls", "-q"]).ok().stdout;
    assert_eq!(volumes, "proj_data\n", "volumes stay unless asked for");
    stack.run(&["up", "-d", "db"]).ok();
    assert_eq!(stack.states(), ["proj-db-1 running"], "only what was named");
    assert_eq!(
        stack
            .run(&["exec", "-T", "db", "cat", "/data/x"])
            .ok()
            .stdout,
        "shared\n"
    );
    stack.down();
    assert_eq!(env.isola(["volume", "ls", "-q"]).ok().stdout, "");
    assert_eq!(
        env.isola(["network", "ls", "--filter", "name=proj", "-q"])
            .ok()
            .stdout,
        ""
    );
}

fn up_again_does_nothing(env: &Env) {
    let stack = Stack::new(env, PAIR);
    stack.run(&["up", "-d"]).ok();
    let ids = stack.ids(&[]);
    let started = env.inspect("proj-web-1", "{{.State.StartedAt}}");
    let again = stack.run(&["up", "-d"]).ok();
    assert_eq!(again.stderr, "");
    assert_eq!(stack.ids(&[]), ids);
    assert_eq!(env.inspect("proj-web-1", "{{.State.StartedAt}}"), started);
    assert_eq!(stack.run(&["up", "--dry-run"]).ok().stdout, "");
    let hash = stack.run(&["config", "--hash", "web"]).ok().stdout;
    let label = env.inspect(
        "proj-web-1",
        "{{index .Config.Labels \"com.docker.compose.config-hash\"}}",
    );
    assert_eq!(hash, format!("web {label}\n"));
    stack.down();
}

fn stop_and_start_keep_instances(env: &Env) {
    let stack = Stack::new(env, PAIR);
    stack.run(&["up", "-d"]).ok();
    let ids = stack.ids(&[]);
    stack.run(&["stop", "-t", "1"]).ok();
    assert_eq!(stack.states(), ["proj-db-1 exited", "proj-web-1 exited"]);
    stack.run(&["start", "db"]).ok();
    assert_eq!(stack.states(), ["proj-db-1 running", "proj-web-1 exited"]);
    stack.run(&["start"]).ok();
    assert_eq!(stack.states(), ["proj-db-1 running", "proj-web-1 running"]);
    let pid = env.inspect("proj-web-1", "{{.State.Pid}}");
    stack.run(&["restart", "-t", "1", "web"]).ok();
    assert_ne!(env.inspect("proj-web-1", "{{.State.Pid}}"), pid);
    assert_eq!(stack.ids(&[]), ids);
    stack.run(&["pause", "web"]).ok();
    assert_eq!(stack.states(), ["proj-db-1 running", "proj-web-1 paused"]);
    stack.run(&["unpause"]).ok();
    stack.run(&["kill", "web"]).ok();
    env.isola(["wait", "proj-web-1"]).ok();
    assert_eq!(stack.states(), ["proj-db-1 running", "proj-web-1 exited"]);
    stack.run(&["rm", "-f"]).ok();
    assert_eq!(stack.states(), ["proj-db-1 running"]);
    stack.run(&["rm", "-fs"]).ok();
    assert!(stack.states().is_empty());
    stack.run(&["start", "web"]).fails(1, "web");
    stack.down();
}

fn exec_reaches_an_instance_by_number(env: &Env) {
    let text = "
services:
  job:
    image: box
    init: true
    command: sleep 1000
    scale: 2
";
    let stack = Stack::new(env, text);
    stack.run(&["up", "-d"]).ok();
    let name = |index: &str| {
        let words = [
            "exec",
            "-T",
            "--index",
            index,
            "job",
            "cat",
            "/etc/hostname",
        ];
        stack.run(&words).ok().stdout
    };
    let id = |name: &str| env.inspect(name, "{{.Id}}")[..12].to_owned();
    assert_eq!(name("1").trim(), id("proj-job-1"));
    assert_eq!(name("2").trim(), id("proj-job-2"));
    stack
        .run(&["exec", "-T", "job", "sh", "-c", "exit 7"])
        .exits(7);
    stack
        .run(&["exec", "-T", "--index", "3", "job", "true"])
        .fails(1, "instance 3");
    stack
        .run(&["exec", "-T", "nosuch", "true"])
        .fails(1, "nosuch");
    assert_eq!(
        stack
            .run_with(&["exec", "-T", "job", "cat"], b"piped")
            .ok()
            .stdout,
        "piped"
    );
    stack
        .run(&[
            "exec",
            "-T",
            "-e",
            "A=b",
            "-w",
            "/tmp",
            "job",
            "sh",
            "-c",
            "test \"$A\" = b && test \"$PWD\" = /tmp",
        ])
        .ok();
    stack.down();
}

fn logs_of_several_services_are_told_apart(env: &Env) {
    let text = "
services:
  aa:
    image: box
    command: [sh, -c, 'echo one; echo two >&2']
  bb:
    image: box
    command: [sh, -c, 'echo three']
    depends_on: {aa: {condition: service_completed_successfully}}
";
    let stack = Stack::new(env, text);
    stack.run(&["up", "-d"]).ok();
    env.isola(["wait", "proj-bb-1"]).ok();
    let logs = stack.run(&["logs"]).ok();
    let mark = match env.wall() {
        isola_tests::Wall::Container => String::new(),
        wall => format!(" ({})", wall.name()),
    };
    assert_eq!(
        logs.stdout,
        format!("aa-1{mark} | one\nbb-1{mark} | three\n")
    );
    assert_eq!(logs.stderr, format!("aa-1{mark} | two\n"));
    assert_eq!(stack.logs("bb"), "three\n");
    let last = stack
        .run(&["logs", "--no-log-prefix", "--tail", "1", "aa"])
        .ok();
    assert_eq!((last.stdout.as_str(), last.stderr.as_str()), ("", "two\n"));
    assert_eq!(
        stack
            .run(&["logs", "-f", "--no-log-prefix", "bb"])
            .ok()
            .stdout,
        "three\n"
    );
    assert_eq!(
        stack
            .run(&["logs", "--index", "1", "--no-log-prefix", "bb"])
            .ok()
            .stdout,
        "three\n"
    );
    stack
        .run(&["logs", "--index", "2", "bb"])
        .fails(1, "instance 2");
    stack.down();
}

fn attached_until_a_signal(env: &Env) {
    let stack = Stack::new(env, PAIR);
    let mut up = stack.start(&["up", "-t", "1"]);
    up.expect("web is here");
    up.expect("db is here");
    up.signal(2);
    let end = up.wait();
    assert_eq!(end.code, 130, "{}", end.stderr);
    assert_eq!(stack.states(), ["proj-db-1 exited", "proj-web-1 exited"]);
    stack.down();
}

fn logs_are_followed_across_a_restart(env: &Env) {
    let stack = Stack::new(env, PAIR);
    stack.run(&["up", "-d"]).ok();
    let mut logs = stack.start(&["logs", "-f"]);
    logs.expect("web is here");
    logs.expect("db is here");
    stack.run(&["restart", "-t", "1", "web"]).ok();
    isola_tests::until("both runs are logged", || {
        stack.logs("web") == "web is here\nweb is here\n"
    });
    stack.run(&["stop", "-t", "1"]).ok();
    let shown = logs.wait().stdout;
    assert_eq!(shown.matches("web is here").count(), 2, "{shown}");
    stack.down();
}

fn each_service_has_its_wall(env: &Env) {
    let wall = env.wall().name();
    let text = PAIR.replace("  web:\n", "  web:\n    isolation: container\n");
    let stack = Stack::new(env, &text);
    let file = env.files().join("proj/compose.yaml");
    let file = file.to_str().unwrap();
    let with = |words: &[&str]| {
        let first = ["compose", "-f", file, "--as"];
        let wall = format!("db={wall}");
        let words: Vec<String> = first
            .iter()
            .map(|word| (*word).to_owned())
            .chain([wall])
            .chain(words.iter().map(|word| (*word).to_owned()))
            .collect();
        env.isola(words)
    };
    with(&["up", "-d"]).ok();
    assert_eq!(env.inspect("proj-web-1", "{{.Isolation}}"), "container");
    assert_eq!(env.inspect("proj-db-1", "{{.Isolation}}"), wall);
    with(&["exec", "-T", "web", "ping", "-c", "1", "db"]).ok();
    with(&["exec", "-T", "db", "ping", "-c", "1", "web"]).ok();
    with(&["exec", "-T", "db", "sh", "-c", "echo both > /data/x; sync"]).ok();
    assert_eq!(
        with(&["exec", "-T", "web", "cat", "/data/x"]).ok().stdout,
        "both\n"
    );
    assert_eq!(with(&["up", "-d"]).ok().stderr, "");
    let table = with(&["ps"]).ok().stdout;
    assert!(
        table.contains("container") && table.contains(wall),
        "{table}"
    );
    stack.down();
}

fn a_dry_run_changes_nothing(env: &Env) {
    let stack = Stack::new(env, PAIR);
    let plan = stack.run(&["up", "--dry-run"]).ok().stdout;
    let expected = "create network default\ncreate volume data\ncreate proj-db-1\nstart proj-db-1\ncreate proj-web-1\nstart proj-web-1\n";
    assert_eq!(plan, expected);
    assert!(stack.states().is_empty());
    assert_eq!(env.isola(["volume", "ls", "-q"]).ok().stdout, "");
    stack.run(&["create"]).ok();
    assert_eq!(stack.states(), ["proj-db-1 created", "proj-web-1 created"]);
    let plan = stack.run(&["down", "-v", "--dry-run"]).ok().stdout;
    assert_eq!(
        plan,
        "remove proj-web-1\nremove proj-db-1\nremove network proj_default\nremove volume proj_data\n"
    );
    stack.down();
}

fn what_cannot_be_is_refused_before_anything_is_made(env: &Env) {
    for (more, part) in [
        ("pid: hots", "pid: hots"),
        ("cgroup_parent: x.slice", "systemd"),
        ("device_cgroup_rules: [x]", "device_cgroup_rules"),
        ("gpus: all", "gpus"),
        (
            "blkio_config: {device_read_bps: [{path: /dev/null, rate: 1m}]}",
            "/dev/null is no block device",
        ),
        ("userns_mode: keep-id", "userns_mode"),
        (
            "volumes: [{type: image, source: box, target: /x}]",
            "type image",
        ),
        ("image: nosuch.invalid/image", "nosuch.invalid/image"),
        ("networks: {out: }", "external network nowhere"),
        ("volumes: ['far:/x']", "external volume nowhere"),
    ] {
        let image = if more.starts_with("image") {
            ""
        } else {
            "    image: box\n"
        };
        let text = format!(
            "services:\n  aa:\n{image}    {more}\n  bb:\n    image: box\nnetworks:\n  out: {{external: true, name: nowhere}}\nvolumes:\n  far: {{external: true, name: nowhere}}\n"
        );
        let stack = Stack::new(env, &text);
        let output = stack.run(&["up", "-d", "--pull", "never"]);
        assert_ne!(output.code, 0, "{more}");
        assert!(output.stderr.contains(part), "{more}: {}", output.stderr);
        assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "", "{more}");
        assert_eq!(
            env.isola(["network", "ls", "-q", "--filter", "name=proj"])
                .ok()
                .stdout,
            ""
        );
    }
    let stack = Stack::new(env, "services:\n  aa:\n    build: .\n");
    stack
        .run(&["up", "-d"])
        .fails(1, "services.aa: there is no Dockerfile");
}

fn a_project_is_known_by_its_labels(env: &Env) {
    let stack = Stack::new(env, PAIR);
    stack.run(&["up", "-d"]).ok();
    // From a folder without a file.
    let by_name = |words: &[&str]| {
        let words = [&["compose", "-p", "proj"], words].concat();
        let mut command = env.command(words);
        command.current_dir("/");
        isola_tests::Output::of(&mut command, b"")
    };
    assert!(by_name(&["ps"]).ok().stdout.contains("proj-web-1"));
    assert_eq!(
        by_name(&["logs", "--no-log-prefix", "db"]).ok().stdout,
        "db is here\n"
    );
    by_name(&["exec", "-T", "web", "true"]).ok();
    by_name(&["stop", "-t", "1"]).ok();
    assert_eq!(stack.states(), ["proj-db-1 exited", "proj-web-1 exited"]);
    // From a folder with the file of another project, or with one that is broken.
    let other = env.files().join("other");
    std::fs::create_dir(&other).unwrap();
    let from_other = |text: &str, words: &[&str]| {
        std::fs::write(other.join("compose.yaml"), text).unwrap();
        let words = [&["compose", "-p", "proj"], words].concat();
        let mut command = env.command(words);
        command.current_dir(&other);
        isola_tests::Output::of(&mut command, b"")
    };
    let foreign = "services:\n  else:\n    image: box\n";
    let all = from_other(foreign, &["ps", "-a", "--services"]).ok().stdout;
    assert_eq!(all, "db\nweb\n");
    from_other("services: [", &["down", "-v"]).ok();
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
    assert_eq!(env.isola(["volume", "ls", "-q"]).ok().stdout, "");
}

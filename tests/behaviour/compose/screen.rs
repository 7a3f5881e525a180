//! What a person sees of a stack's steps, and what ctrl-c does.

use isola_tests::{Env, behaviours};

use super::Stack;

behaviours![
    Every ctrl_c_stops_what_is_attached,
    Every ctrl_c_twice_kills_at_once,
    Every ctrl_c_ends_a_making,
    Every a_terminal_has_a_line_for_each_thing,
    Once steps_are_told_as_wished,
    Once ctrl_c_ends_a_build,
    Every export_and_commit_of_services,
];

const ATTACHED: &str = "
services:
  aa:
    image: box
    init: true
    command: [sh, -c, 'trap \"echo going; exit 0\" TERM; echo ready; while :; do sleep 0.1; done']
  bb:
    IDLE
";

fn ctrl_c_stops_what_is_attached(env: &Env) {
    let stack = Stack::new(env, ATTACHED);
    let mut up = stack.on_terminal(&["up"]);
    up.expect("ready");
    up.press(b"\x03");
    let (code, shown) = up.wait();
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("Stopping..."), "{shown}");
    assert!(shown.contains("going"), "the last words: {shown}");
    assert_eq!(stack.states(), ["proj-aa-1 exited", "proj-bb-1 exited"]);
    assert_eq!(env.inspect("proj-aa-1", "{{.State.ExitCode}}"), "0");
    stack.down();
}

fn ctrl_c_twice_kills_at_once(env: &Env) {
    let text = "
services:
  aa:
    image: box
    stop_grace_period: 10m
    command: [sh, -c, 'trap \"echo never\" TERM; echo ready; while :; do sleep 0.1; done']
";
    let stack = Stack::new(env, text);
    let mut up = stack.on_terminal(&["up"]);
    up.expect("ready");
    up.press(b"\x03");
    up.expect("Stopping...");
    // The program is stubborn, and has ten minutes.
    up.press(b"\x03");
    let (code, shown) = up.wait();
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("Killing..."), "{shown}");
    assert_eq!(stack.states(), ["proj-aa-1 exited"]);
    assert_eq!(env.inspect("proj-aa-1", "{{.State.ExitCode}}"), "137");
    stack.down();
}

fn ctrl_c_ends_a_making(env: &Env) {
    let text = "
services:
  aa:
    IDLE
    healthcheck: {test: 'false', interval: 100ms, retries: 100000}
  bb:
    IDLE
    depends_on: {aa: {condition: service_healthy}}
";
    let stack = Stack::new(env, text);
    let mut up = stack.on_terminal(&["--progress", "plain", "up"]);
    up.expect("proj-aa-1  Started");
    up.press(b"\x03");
    let (code, shown) = up.wait();
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("what was done so far stays"), "{shown}");
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-bb-1 created"]);
    stack.down();
}

fn a_terminal_has_a_line_for_each_thing(env: &Env) {
    let stack = Stack::new(env, ATTACHED);
    let (code, shown) = stack.on_terminal(&["up", "-d"]).wait();
    assert_eq!(code, 0, "{shown}");
    let wall = env.wall().name();
    for name in ["proj-aa-1", "proj-bb-1"] {
        let line = |line: &&str| line.contains('✔') && line.contains(name) && line.contains(wall);
        let found = shown.split(['\r', '\n']).rfind(line);
        let found = found.unwrap_or_else(|| panic!("{name} {wall}: {shown:?}"));
        assert!(
            found.contains("Started") && found.contains('s'),
            "{found:?}"
        );
    }
    assert!(
        shown.contains("Network default") || shown.contains("Network proj"),
        "{shown}"
    );
    assert!(!shown.contains("\u{1b}[32m"), "NO_COLOR: {shown:?}");
    let (_, shown) = stack
        .on_terminal(&[
            "--ansi",
            "always",
            "up",
            "-d",
            "--force-recreate",
            "-t",
            "1",
        ])
        .wait();
    assert!(shown.contains("\u{1b}[32m✔"), "{shown:?}");
    let (_, shown) = stack
        .on_terminal(&["--ansi", "never", "down", "-t", "1"])
        .wait();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert!(shown.contains("Instance proj-aa-1  Removed"), "{shown}");
}

fn steps_are_told_as_wished(env: &Env) {
    let stack = Stack::new(env, ATTACHED);
    let up = stack.run(&["--progress", "json", "up", "-d"]).ok();
    let objects: Vec<serde_json::Value> = up
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let started = objects.iter().any(|object| {
        object["id"] == "Instance proj-aa-1"
            && object["text"] == "Started"
            && object["status"] == "Done"
            && object["isolation"] == env.wall().name()
    });
    assert!(started, "{}", up.stderr);
    let quiet = stack.run(&["--progress", "quiet", "kill"]).ok();
    assert_eq!(quiet.stderr, "");
    let quiet = stack.run(&["--progress", "quiet", "down"]).ok();
    assert_eq!(quiet.stderr, "");
    stack
        .run(&["--progress", "tty", "up", "-d"])
        .fails(1, "no terminal");
    stack
        .run(&["--progress", "nosuch", "up"])
        .fails(125, "nosuch");
    stack.run(&["up", "-d"]).ok();
    stack.start(&["logs", "-f", "aa"]).expect("ready");
    let colored = stack.run(&["--ansi", "always", "logs", "aa"]).ok().stdout;
    assert!(colored.contains("\u{1b}["), "{colored:?}");
    let plain = stack.run(&["--ansi", "always", "logs", "--no-color", "aa"]);
    assert!(!plain.ok().stdout.contains('\u{1b}'));
    stack.down();
}

fn ctrl_c_ends_a_build(env: &Env) {
    let text = "services: {aa: {build: {dockerfile_inline: \"FROM box\\nRUN echo begun; sleep 1000\\n\", network: none}}}";
    let stack = Stack::new(env, text);
    let mut up = stack.on_terminal(&["--progress", "plain", "up", "-d"]);
    up.expect("aa #2 begun");
    up.press(b"\x03");
    let (code, shown) = up.wait();
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("interrupted"), "{shown}");
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
}

fn export_and_commit_of_services(env: &Env) {
    let text = "
services:
  aa:
    image: box
    init: true
    scale: 2
    command: [sh, -c, 'hostname > /name; echo ready; exec sleep 1000']
";
    let stack = Stack::up(env, text);
    for number in ["1", "2"] {
        let mut logs = stack.start(&["logs", "-f", "--index", number, "aa"]);
        logs.expect("ready");
    }
    let name = |number: &str| {
        let words = ["exec", "-T", "--index", number, "aa", "hostname"];
        stack.run(&words).ok().stdout
    };
    let out = env.files().join("out.tar");
    let path = out.to_str().unwrap();
    stack
        .run(&["export", "--index", "2", "-o", path, "aa"])
        .ok();
    let mut archive = tar::Archive::new(std::fs::File::open(&out).unwrap());
    let mut found = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("name") {
            std::io::Read::read_to_string(&mut entry, &mut found).unwrap();
        }
    }
    assert_eq!(found, name("2"));
    stack
        .run(&[
            "commit",
            "--index",
            "1",
            "-m",
            "a try",
            "-c",
            "CMD [\"cat\", \"/name\"]",
            "aa",
            "aa:kept",
        ])
        .ok();
    let run = env.isola(["run", "--rm", "aa:kept"]).ok();
    assert_eq!(run.stdout, name("1"));
    stack
        .run(&["export", "--index", "3", "-o", path, "aa"])
        .fails(1, "no instance 3");
    stack.run(&["commit", "nosuch", "x"]).fails(1, "nosuch");
    stack.down();
}

//! `isola compose events`: what happens to a project's instances.

use isola_tests::{Env, behaviours, until};

use super::Stack;

behaviours![
    Every a_projects_events_are_told,
    Container they_are_followed_and_logs_follow_what_is_made_anew,
];

const TEXT: &str = "
services:
  aa:
    image: box
    init: true
    command: [sh, -c, 'echo hello; exec sleep 1000']
    labels: {tier: front}
  bb:
    IDLE
";

fn a_projects_events_are_told(env: &Env) {
    let stack = Stack::new(env, TEXT);
    env.run(&[], &["true"]).ok();
    stack.run(&["up", "-d"]).ok();
    stack.run(&["run", "--rm", "-T", "aa", "true"]).ok();
    stack.run(&["exec", "-T", "aa", "true"]).ok();
    stack.run(&["restart", "-t", "5", "aa"]).ok();
    stack.run(&["down", "-t", "5"]).ok();
    let told = |words: &[&str]| {
        let span = ["events", "--since", "0", "--until", "0s"];
        let text = stack.run(&[&span[..], words].concat()).ok().stdout;
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let events: Vec<serde_json::Value> = told(&["--json", "aa"])
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let actions: Vec<&str> = events
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    let expected = [
        "create",
        "start",
        "exec_create: true",
        "exec_start: true",
        "exec_die",
        "kill",
        "die",
        "stop",
        "start",
        "restart",
        "kill",
        "die",
        "stop",
        "destroy",
    ];
    assert_eq!(actions, expected);
    let first = &events[0];
    assert_eq!(first["service"], "aa");
    assert_eq!(first["type"], "container");
    assert_eq!(first["attributes"]["name"], "proj-aa-1");
    assert_eq!(first["attributes"]["image"], "box");
    assert_eq!(first["attributes"]["tier"], "front");
    let keys: Vec<&String> = first["attributes"].as_object().unwrap().keys().collect();
    assert!(
        !keys.iter().any(|key| key.starts_with("com.docker.compose")),
        "{keys:?}"
    );
    assert!(first["time"].as_str().unwrap().contains('T'));
    let lines = told(&[]);
    assert!(lines.iter().any(|line| line.contains("name=proj-bb-1")));
    assert!(
        lines.iter().all(|line| line.contains(" container ")),
        "{lines:?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("proj-aa-run")),
        "not of one-off ones"
    );
}

fn they_are_followed_and_logs_follow_what_is_made_anew(env: &Env) {
    let stack = Stack::up(env, TEXT);
    let mut events = stack.start(&["events", "aa"]);
    let mut logs = stack.start(&["logs", "-f", "--no-log-prefix", "aa"]);
    logs.expect("hello\n");
    until("it listens", || {
        stack.run(&["exec", "-T", "aa", "true"]).ok();
        events.seen().contains("exec_die")
    });
    stack
        .run(&["up", "-d", "--force-recreate", "-t", "1", "aa"])
        .ok();
    events.expect("container destroy");
    logs.expect("hello\nhello\n");
    stack.run(&["restart", "-t", "1", "aa"]).ok();
    logs.expect("hello\nhello\nhello\n");
    stack.run(&["stop", "-t", "1"]).ok();
    logs.wait().ok();
    events.signal(2);
    assert!(!events.wait().stdout.contains("proj-bb-1"));
    stack.down();
}

//! Hooks: as whom, where and with which rights they run, and what a failure means.

use isola_tests::{Env, behaviours};

use super::Stack;

behaviours![
    Every hooks_run_as_they_say,
    Every a_failed_hook_ends_the_list,
    Every hooks_come_with_every_start_and_stop,
];

/// What hooks have written into the volume `data`.
fn written(env: &Env) -> String {
    env.run(&["-v", "proj_data:/data"], &["cat", "/data/x"])
        .ok()
        .stdout
}

fn hooks_run_as_they_say(env: &Env) {
    let says = |name: &str| {
        format!(
            "'echo {name} $$(id -u):$$(id -g) $$(pwd) $$A $$B $$C $$(grep CapEff /proc/self/status | cut -f 2) >> /data/x; sync'"
        )
    };
    let hooks = |name: &str| {
        format!(
            "
      - {{command: [sh, -c, {}]}}
      - {{command: [sh, -c, {}], user: '5:6', working_dir: /tmp, environment: {{A: hook, C: new}}}}
      - {{command: [sh, -c, {}], privileged: true, working_dir: /}}",
            says(&format!("{name}1")),
            says(&format!("{name}2")),
            says(&format!("{name}3")),
        )
    };
    let text = format!(
        "
services:
  aa:
    image: box
    init: true
    command: [sh, -c, 'chmod 777 /data; touch /data/x; chmod 666 /data/x; exec sleep 1000']
    working_dir: /bin
    environment: {{A: own, B: kept}}
    volumes: ['data:/data']
    post_start:
      - {{command: [sh, -c, 'while test $$(stat -c %a /data/x 2>/dev/null || echo 0) != 666; do sleep 0.1; done']}}{}
    pre_stop:{}
volumes:
  data:
",
        hooks("start"),
        hooks("stop")
    );
    let stack = Stack::up(env, &text);
    stack.run(&["stop", "-t", "1"]).ok();
    let read = written(env);
    let lines: Vec<Vec<&str>> = read.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 6, "{read}");
    for (at, name) in [(0, "start"), (3, "stop")] {
        let rights =
            |line: usize| u64::from_str_radix(lines[at + line].last().unwrap(), 16).unwrap();
        let said = |line: usize| lines[at + line][..lines[at + line].len() - 1].join(" ");
        assert_eq!(said(0), format!("{name}1 0:0 /bin own kept"));
        assert_eq!(said(1), format!("{name}2 5:6 /tmp hook kept new"));
        assert_eq!(said(2), format!("{name}3 0:0 / own kept"));
        assert_eq!(rights(1), 0, "a user has none");
        assert_eq!(
            rights(0) & (1 << 21),
            0,
            "CAP_SYS_ADMIN is not for everyone"
        );
        assert_ne!(rights(2) & (1 << 21), 0, "{read}");
    }
    stack.down();
}

fn a_failed_hook_ends_the_list(env: &Env) {
    let text = "
services:
  aa:
    IDLE
    volumes: ['data:/data']
    post_start:
      - {command: [sh, -c, 'echo one >> /data/x; sync']}
      - {command: [/nosuch]}
      - {command: [sh, -c, 'echo never >> /data/x; sync']}
    pre_stop:
      - {command: [sh, -c, 'echo two >> /data/x; echo why >&2; sync; exit 3']}
      - {command: [sh, -c, 'echo never >> /data/x; sync']}
  bb:
    image: box
    command: sleep 1000
    depends_on: [aa]
volumes:
  data:
";
    let stack = Stack::new(env, text);
    let up = stack.run(&["up", "-d"]);
    assert_eq!(up.code, 1, "{}", up.stderr);
    assert!(
        up.stderr.contains("post_start hook of proj-aa-1") && up.stderr.contains("/nosuch"),
        "{}",
        up.stderr
    );
    let states = stack.states();
    assert!(
        states.contains(&"proj-aa-1 running".to_owned()),
        "{states:?}"
    );
    assert!(
        !states.contains(&"proj-bb-1 running".to_owned()),
        "{states:?}"
    );
    let stop = stack.run(&["stop", "-t", "1"]).ok();
    assert!(
        stop.stderr
            .contains("pre_stop hook of proj-aa-1: ended with 3: why"),
        "{}",
        stop.stderr
    );
    assert!(
        stack.states().contains(&"proj-aa-1 exited".to_owned()),
        "it is stopped all the same"
    );
    assert_eq!(written(env), "one\ntwo\n");
    stack.down();
}

fn hooks_come_with_every_start_and_stop(env: &Env) {
    let text = "
services:
  aa:
    IDLE
    volumes: ['data:/data']
    post_start: [{command: [sh, -c, 'echo start >> /data/x; sync']}]
    pre_stop: [{command: [sh, -c, 'echo stop >> /data/x; sync']}]
volumes:
  data:
";
    let stack = Stack::up(env, text);
    stack.run(&["restart", "-t", "1"]).ok();
    stack.run(&["up", "-d", "--force-recreate", "-t", "1"]).ok();
    stack.run(&["kill"]).ok();
    env.isola(["wait", "proj-aa-1"]).ok();
    stack.run(&["start"]).ok();
    stack.run(&["down", "-t", "1"]).ok();
    let expected = "start\nstop\nstart\nstop\nstart\nstart\nstop\n";
    assert_eq!(written(env), expected, "none before a kill");
    let run = ["run", "-d", "--name", "once", "aa"];
    stack.run(&run).ok();
    assert_eq!(
        written(env),
        format!("{expected}start\n"),
        "with one-off ones, too"
    );
    stack.down();
}

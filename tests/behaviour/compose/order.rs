//! What waits for what, and what an end means for the others.

use isola_tests::{Env, behaviours};

use super::Stack;

behaviours![
    Every a_service_waits_for_anothers_health,
    Every a_service_waits_for_anothers_end,
    Every a_dependency_that_fails_fails_up,
    Every an_optional_dependency_may_fail,
    Every wait_means_healthy_and_has_a_limit,
    Every the_exit_code_of_one_ends_all,
    Every hooks_run_in_order,
    Every a_dependency_that_is_made_anew_restarts_who_asks_for_it,
];

fn a_service_waits_for_anothers_health(env: &Env) {
    let text = "
services:
  db:
    image: box
    init: true
    command: [sh, -c, 'sleep 1; touch /tmp/good; exec sleep 1000']
    healthcheck: {test: [CMD, test, -e, /tmp/good], interval: 200ms, retries: 1000}
  web:
    image: box
    init: true
    command: sleep 1000
    depends_on: {db: {condition: service_healthy}}
";
    let stack = Stack::new(env, text);
    let up = stack.run(&["up", "-d"]).ok();
    let at = |words: &str| {
        up.stderr
            .find(words)
            .unwrap_or_else(|| panic!("{words}: {}", up.stderr))
    };
    assert!(at("Service db  Healthy") < at("proj-web-1  Started"));
    let table = stack.run(&["ps"]).ok().stdout;
    assert!(table.contains("(healthy)"), "{table}");
    assert_eq!(stack.run(&["up", "-d"]).ok().stderr, "");
    stack.down();
}

fn a_service_waits_for_anothers_end(env: &Env) {
    let text = "
services:
  job:
    image: box
    command: [sh, -c, 'sleep 1; echo done > /data/x; sync']
    volumes: ['data:/data']
  web:
    image: box
    init: true
    command: [sh, -c, 'cat /data/x; exec sleep 1000']
    volumes: ['data:/data']
    depends_on: {job: {condition: service_completed_successfully}}
volumes:
  data:
";
    let stack = Stack::new(env, text);
    stack.run(&["up", "-d"]).ok();
    stack.start(&["logs", "-f", "web"]).expect("done");
    assert_eq!(stack.states(), ["proj-job-1 exited", "proj-web-1 running"]);
    stack.down();
}

fn a_dependency_that_fails_fails_up(env: &Env) {
    let text = |db: &str| {
        format!(
            "services:
  db:
    image: box
    init: true
    {db}
  web:
    image: box
    init: true
    command: sleep 1000
    depends_on: {{db: {{condition: service_healthy}}}}
"
        )
    };
    let check = |test: &str| format!("healthcheck: {{test: {test}, interval: 200ms, retries: 1}}");
    for (db, part) in [
        (
            format!("command: sleep 1000\n    {}", check("'exit 1'")),
            "unhealthy",
        ),
        (
            format!(
                "command: [sh, -c, 'sleep 1; exit 3']\n    {}",
                check("'true'").replace("200ms", "1h")
            ),
            "ended with 3",
        ),
        ("command: sleep 1000".to_owned(), "no health check"),
    ] {
        let stack = Stack::new(env, &text(&db));
        let up = stack.run(&["up", "-d"]);
        assert_eq!(up.code, 1, "{}", up.stderr);
        assert!(
            up.stderr.contains("services.db") && up.stderr.contains(part),
            "{part}: {}",
            up.stderr
        );
        let states = stack.states();
        assert_eq!(
            states[1], "proj-web-1 created",
            "it stays for a look: {states:?}"
        );
        stack.down();
    }
    let job = "services:\n  job:\n    image: box\n    command: [sh, -c, 'exit 5']\n  web:\n    image: box\n    command: sleep 1000\n    depends_on: {job: {condition: service_completed_successfully}}\n";
    let stack = Stack::new(env, job);
    stack.run(&["up", "-d"]).fails(1, "ended with 5");
    stack.down();
}

fn an_optional_dependency_may_fail(env: &Env) {
    let text = "
services:
  db:
    image: box
    init: true
    command: [sh, -c, 'exit 4']
  web:
    image: box
    init: true
    command: sleep 1000
    depends_on: {db: {condition: service_completed_successfully, required: false}}
";
    let stack = Stack::new(env, text);
    let up = stack.run(&["up", "-d"]).ok();
    assert!(up.stderr.contains("warning"), "{}", up.stderr);
    assert_eq!(stack.states(), ["proj-db-1 exited", "proj-web-1 running"]);
    stack.down();
}

fn wait_means_healthy_and_has_a_limit(env: &Env) {
    let text = |test: &str| {
        format!(
            "services:\n  aa:\n    image: box\n    init: true\n    command: sleep 1000\n    healthcheck: {{test: '{test}', interval: 200ms, retries: 100000}}\n  bb:\n    image: box\n    init: true\n    command: sleep 1000\n"
        )
    };
    let stack = Stack::new(env, &text("true"));
    stack.run(&["up", "--wait"]).ok();
    assert!(stack.run(&["ps"]).ok().stdout.contains("(healthy)"));
    stack.write(&text("exit 1"));
    stack
        .run(&["up", "-t", "1", "--wait", "--wait-timeout", "1"])
        .fails(1, "--wait-timeout");
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-bb-1 running"]);
    stack.down();
}

fn the_exit_code_of_one_ends_all(env: &Env) {
    let text = "
services:
  test:
    image: box
    init: true
    command: [sh, -c, 'sleep 1; exit 42']
    depends_on: [web]
  web:
    image: box
    init: true
    command: sleep 1000
";
    let stack = Stack::new(env, text);
    stack
        .run(&["up", "-t", "5", "--exit-code-from", "test"])
        .exits(42);
    assert_eq!(stack.states(), ["proj-test-1 exited", "proj-web-1 exited"]);
    stack
        .run(&[
            "up",
            "-t",
            "5",
            "--abort-on-container-exit",
            "--exit-code-from",
            "web",
        ])
        .exits(143);
    stack
        .run(&["up", "-t", "5", "--abort-on-container-failure"])
        .exits(42);
    assert_eq!(stack.states(), ["proj-test-1 exited", "proj-web-1 exited"]);
    stack.down();
}

fn hooks_run_in_order(env: &Env) {
    let text = |after: &str| {
        format!(
            "services:
  aa:
    image: box
    init: true
    command: [sh, -c, 'echo main >> /data/x; exec sleep 1000']
    volumes: ['data:/data']
    pre_start: [{{command: [sh, -c, 'echo before >> /data/x; sync']}}]
    post_start: [{{command: [sh, -c, 'while ! grep -q main /data/x; do sleep 0.1; done; echo $$WHEN >> /data/x; {after}'], environment: {{WHEN: after}}}}]
    pre_stop: [{{command: [sh, -c, 'echo last >> /data/x; sync']}}]
volumes:
  data:
"
        )
    };
    let stack = Stack::new(env, &text("sync"));
    stack.run(&["up", "-d"]).ok();
    stack.run(&["stop", "-t", "1"]).ok();
    let read = || {
        env.run(&["-v", "proj_data:/data"], &["cat", "/data/x"])
            .ok()
            .stdout
    };
    assert_eq!(read(), "before\nmain\nafter\nlast\n");
    stack.down();
    stack.write(&text("exit 6"));
    let up = stack.run(&["up", "-d"]);
    assert_eq!(up.code, 1);
    assert!(
        up.stderr.contains("post_start") && up.stderr.contains("ended with 6"),
        "{}",
        up.stderr
    );
    stack.down();
}

fn a_dependency_that_is_made_anew_restarts_who_asks_for_it(env: &Env) {
    let text = |value: &str| {
        format!(
            "services:\n  db:\n    image: box\n    init: true\n    command: sleep 1000\n    environment: {{A: '{value}'}}\n  web:\n    image: box\n    init: true\n    command: sleep 1000\n    depends_on: {{db: {{condition: service_started, restart: true}}}}\n"
        )
    };
    let stack = Stack::new(env, &text("1"));
    stack.run(&["up", "-d"]).ok();
    let (db, web) = (stack.ids(&["db"]), stack.ids(&["web"]));
    let pid = env.inspect("proj-web-1", "{{.State.Pid}}");
    stack.write(&text("2"));
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert_ne!(stack.ids(&["db"]), db);
    assert_eq!(stack.ids(&["web"]), web);
    assert_ne!(env.inspect("proj-web-1", "{{.State.Pid}}"), pid);
    stack.down();
}

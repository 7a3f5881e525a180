//! What an `up` that fails half way leaves, and what it takes back.

use isola_tests::{Env, behaviours, until};

use super::Stack;

behaviours![
    Every what_fails_stays_or_is_taken_back,
    Every what_was_replaced_comes_back,
    Once a_changed_network_comes_back,
    Once what_is_given_up_is_taken_back,
];

fn text(word: &str, bad: &str) -> String {
    format!(
        "
services:
  aa:
    image: box
    init: true
    command: [sh, -c, 'cat /run/secrets/it; exec sleep 1000']
    environment: {{WORD: '{word}'}}
    volumes: [/own]
    secrets: [it]
  bb:
    IDLE
    scale: {scale}
  zz:
    image: box
    command: '{bad}'
    depends_on: [aa, bb]
    volumes: ['data:/data']
    networks: [default, extra]
  after:
    IDLE
    environment: {{WORD: '{word}'}}
    depends_on: {{zz: {{condition: service_completed_successfully}}}}
volumes:
  data:
networks:
  extra:
secrets:
  it: {{environment: WORD}}
",
        scale = if bad == "true" { 2 } else { 1 },
    )
}

fn networks(env: &Env) -> Vec<String> {
    let words = ["network", "ls", "--format", "{{.Name}}"];
    let names = env.isola(words).ok().stdout;
    let names = names.lines().filter(|name| name.starts_with("proj_"));
    names.map(str::to_owned).collect()
}

fn volumes(env: &Env) -> String {
    env.isola(["volume", "ls", "-q"]).ok().stdout
}

fn what_fails_stays_or_is_taken_back(env: &Env) {
    let stack = Stack::new(env, &text("one", "sh -c \"exit 3\""));
    stack.put(".env", "WORD=one\n");
    let up = stack.run(&["up", "-d", "--rollback"]);
    assert_eq!(up.code, 1, "{}", up.stderr);
    assert!(
        up.stderr.contains(
            "services.zz: instance proj-zz-1 did not complete successfully: it ended with 3"
        ),
        "{}",
        up.stderr
    );
    assert!(up.stderr.contains("was taken back"), "{}", up.stderr);
    assert!(stack.states().is_empty());
    assert!(networks(env).is_empty());
    assert_eq!(volumes(env), "");
    // Without it all stays for a look.
    stack.run(&["up", "-d"]).fails(1, "services.zz");
    assert_eq!(
        stack.states(),
        [
            "proj-aa-1 running",
            "proj-after-1 created",
            "proj-bb-1 running",
            "proj-zz-1 exited"
        ]
    );
    stack.down();
}

fn what_was_replaced_comes_back(env: &Env) {
    let stack = Stack::new(env, &text("one", "true"));
    stack.put(".env", "WORD=one\n");
    stack.run(&["up", "-d"]).ok();
    stack
        .run(&["exec", "-T", "aa", "sh", "-c", "echo kept > /own/it; sync"])
        .ok();
    let (ids, states, before) = (stack.ids(&[]), stack.states(), volumes(env));
    stack.put(".env", "WORD=two\n");
    stack.write(&text("two", "sh -c \"exit 3\""));
    let up = stack.run(&["up", "-d", "-t", "1", "--rollback"]);
    assert_eq!(up.code, 1, "{}", up.stderr);
    assert_eq!(stack.ids(&[]), ids, "{}", up.stderr);
    assert_eq!(stack.states(), states);
    assert_eq!(volumes(env), before);
    let found = stack.run(&["exec", "-T", "aa", "sh", "-c", "echo $WORD; cat /own/it"]);
    assert_eq!(found.ok().stdout, "one\nkept\n");
    // It reads its secret again when it is started again.
    until("it is as it was", || {
        stack.logs("aa").trim_end().ends_with("one")
    });
    // What goes well replaces as ever, and nothing is left of the old ones.
    stack.write(&text("two", "true"));
    stack.run(&["up", "-d", "-t", "1", "--rollback"]).ok();
    assert_eq!(stack.states(), states);
    assert_ne!(stack.ids(&["aa"]), ids[..1]);
    let found = stack.run(&["exec", "-T", "aa", "sh", "-c", "echo $WORD; cat /own/it"]);
    assert_eq!(found.ok().stdout, "two\nkept\n");
    assert_eq!(volumes(env), before);
    stack.down();
}

fn a_changed_network_comes_back(env: &Env) {
    let text = |subnet: &str, command: &str| {
        format!(
            "
services:
  aa:
    IDLE
    networks: [lan]
  zz:
    image: box
    command: '{command}'
    networks: [lan]
  after:
    IDLE
    networks: [lan]
    depends_on: {{zz: {{condition: service_completed_successfully}}}}
networks:
  lan: {{ipam: {{config: [{{subnet: {subnet}}}]}}}}
"
        )
    };
    let stack = Stack::up(env, &text("198.51.100.0/28", "true"));
    let ids = stack.ids(&["aa"]);
    let address = || stack.inside("aa", &["ip", "-o", "-4", "addr", "show", "eth0"]);
    assert!(address().contains("198.51.100."));
    stack.write(&text("203.0.113.0/28", "false"));
    let up = stack.run(&["up", "-d", "-t", "1", "--rollback"]);
    assert_eq!(up.code, 1, "{}", up.stderr);
    assert_eq!(stack.ids(&["aa"]), ids, "{}", up.stderr);
    assert!(address().contains("198.51.100."), "{}", up.stderr);
    assert_eq!(stack.run(&["up", "-d", "--dry-run", "aa"]).ok().code, 0);
    stack.down();
}

fn what_is_given_up_is_taken_back(env: &Env) {
    let text = "
services:
  aa:
    IDLE
    healthcheck: {test: 'false', interval: 100ms, retries: 100000}
  bb:
    image: box
    depends_on: {aa: {condition: service_healthy}}
";
    let stack = Stack::new(env, text);
    let up = stack.start(&["up", "-d", "--rollback"]);
    until("it waits", || {
        stack
            .states()
            .first()
            .is_some_and(|state| state.ends_with("running"))
    });
    up.signal(2);
    let up = up.wait();
    assert_eq!(up.code, 130, "{}", up.stderr);
    assert!(up.stderr.contains("was taken back"), "{}", up.stderr);
    assert!(stack.states().is_empty());
}

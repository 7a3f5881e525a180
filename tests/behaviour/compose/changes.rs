//! What a changed file, or another wish, does to a stack that is there.

use isola_tests::{Env, behaviours};

use super::Stack;

behaviours![
    Every only_what_has_changed_is_made_anew,
    Every force_recreate_leaves_dependencies_alone,
    Every scaling_up_and_down_keeps_the_others,
    Every scaling_down_keeps_those_that_are_up_to_date,
    Every orphans_go_when_asked_to,
    Every down_of_a_service_touches_nothing_else,
    Every a_changed_subnet_gives_new_addresses,
    Every a_changed_volume_is_made_anew_after_approval,
    Every unnamed_volumes_are_kept_or_renewed,
    Once profiles_choose,
];

fn two(first: &str, second: &str) -> String {
    format!(
        "services:
  aa:
    image: box
    init: true
    command: sleep 1000
    environment: {{A: '{first}'}}
    depends_on: [bb]
  bb:
    image: box
    init: true
    command: sleep 1000
    environment: {{A: '{second}'}}
"
    )
}

fn only_what_has_changed_is_made_anew(env: &Env) {
    let stack = Stack::new(env, &two("1", "1"));
    stack.run(&["up", "-d"]).ok();
    let (aa, bb) = (stack.ids(&["aa"]), stack.ids(&["bb"]));
    stack.write(&two("2", "1"));
    stack.run(&["up", "-d", "--no-recreate"]).ok();
    assert_eq!(stack.ids(&["aa"]), aa);
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert_ne!(stack.ids(&["aa"]), aa);
    assert_eq!(stack.ids(&["bb"]), bb);
    assert_eq!(
        stack
            .run(&["exec", "-T", "aa", "sh", "-c", "echo $A"])
            .ok()
            .stdout,
        "2\n"
    );
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-bb-1 running"]);
    stack.down();
}

fn force_recreate_leaves_dependencies_alone(env: &Env) {
    let stack = Stack::new(env, &two("1", "1"));
    stack.run(&["up", "-d"]).ok();
    let (aa, bb) = (stack.ids(&["aa"]), stack.ids(&["bb"]));
    stack
        .run(&["up", "-d", "-t", "1", "--force-recreate", "--no-deps", "aa"])
        .ok();
    assert_ne!(stack.ids(&["aa"]), aa);
    assert_eq!(stack.ids(&["bb"]), bb);
    let aa = stack.ids(&["aa"]);
    stack
        .run(&[
            "up",
            "-d",
            "-t",
            "1",
            "--force-recreate",
            "--always-recreate-deps",
            "aa",
        ])
        .ok();
    assert_ne!(stack.ids(&["aa"]), aa);
    assert_ne!(stack.ids(&["bb"]), bb);
    stack.down();
}

const SCALED: &str = "
services:
  aa:
    image: box
    init: true
    command: sleep 1000
    environment: {A: '1'}
";

fn scaling_up_and_down_keeps_the_others(env: &Env) {
    let stack = Stack::new(env, SCALED);
    stack.run(&["up", "-d"]).ok();
    let first = stack.ids(&[]);
    stack.run(&["up", "-d", "--scale", "aa=3"]).ok();
    assert_eq!(
        stack.states(),
        [
            "proj-aa-1 running",
            "proj-aa-2 running",
            "proj-aa-3 running"
        ]
    );
    let three = stack.ids(&[]);
    assert_eq!(three[0], first[0], "scaling up makes nothing anew");
    stack.run(&["scale", "aa=1"]).ok();
    assert_eq!(stack.ids(&[]), first);
    // Numbers are used again.
    stack
        .run(&["up", "-d", "--scale", "aa=2", "--no-recreate"])
        .ok();
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-aa-2 running"]);
    stack
        .run(&["up", "-d", "--scale", "aa"])
        .fails(1, "SERVICE=NUMBER");
    stack
        .run(&["up", "-d", "--scale", "nosuch=1"])
        .fails(1, "nosuch");
    stack.run(&["up", "-d", "--scale", "aa=0"]).ok();
    assert!(stack.states().is_empty());
    stack.down();
}

fn scaling_down_keeps_those_that_are_up_to_date(env: &Env) {
    let stack = Stack::new(env, SCALED);
    stack.run(&["up", "-d"]).ok();
    stack.write(&SCALED.replace("'1'", "'2'"));
    stack
        .run(&["up", "-d", "--scale", "aa=2", "--no-recreate"])
        .ok();
    let both = stack.ids(&[]);
    stack.run(&["up", "-d", "-t", "1", "--scale", "aa=1"]).ok();
    assert_eq!(
        stack.states(),
        ["proj-aa-2 running"],
        "the outdated one goes"
    );
    assert_eq!(stack.ids(&[]), both[1..]);
    stack.run(&["up", "-d", "--scale", "aa=2"]).ok();
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-aa-2 running"]);
    stack.down();
}

fn orphans_go_when_asked_to(env: &Env) {
    let one = "services:\n  bb:\n    image: box\n    init: true\n    command: sleep 1000\n    environment: {A: '1'}\n";
    let stack = Stack::new(env, &two("1", "1"));
    stack.run(&["up", "-d"]).ok();
    stack.write(one);
    let up = stack.run(&["up", "-d"]).ok();
    assert!(
        up.stderr.contains("proj-aa-1") && up.stderr.contains("--remove-orphans"),
        "{}",
        up.stderr
    );
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-bb-1 running"]);
    stack.run(&["up", "-d", "-t", "1", "--remove-orphans"]).ok();
    assert_eq!(stack.states(), ["proj-bb-1 running"]);
    stack.write(&two("1", "1"));
    stack.run(&["up", "-d"]).ok();
    stack.write(one);
    stack.put(".env", "COMPOSE_REMOVE_ORPHANS=1\n");
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert_eq!(stack.states(), ["proj-bb-1 running"]);
    stack.down();
}

fn down_of_a_service_touches_nothing_else(env: &Env) {
    let stack = Stack::new(env, &two("1", "1"));
    stack.run(&["up", "-d"]).ok();
    let bb = stack.ids(&["bb"]);
    stack.run(&["down", "-t", "1", "aa"]).ok();
    assert_eq!(stack.states(), ["proj-bb-1 running"]);
    assert_eq!(stack.ids(&[]), bb);
    assert_ne!(
        env.isola(["network", "ls", "-q", "--filter", "name=proj"])
            .ok()
            .stdout,
        ""
    );
    stack.run(&["down", "nosuch"]).fails(1, "nosuch");
    stack.down();
}

fn a_changed_subnet_gives_new_addresses(env: &Env) {
    let text = |subnet: &str| {
        format!(
            "services:\n  aa:\n    image: box\n    init: true\n    command: sleep 1000\nnetworks:\n  default:\n    ipam: {{config: [{{subnet: {subnet}}}]}}\n"
        )
    };
    let stack = Stack::new(env, &text("10.77.1.0/24"));
    stack.run(&["up", "-d"]).ok();
    let address = || {
        env.inspect(
            "proj-aa-1",
            "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        )
    };
    assert!(address().starts_with("10.77.1."), "{}", address());
    stack.write(&text("10.77.2.0/24"));
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert!(address().starts_with("10.77.2."), "{}", address());
    assert_eq!(stack.states(), ["proj-aa-1 running"]);
    assert_eq!(stack.run(&["up", "-d"]).ok().stderr, "");
    stack.down();
}

fn a_changed_volume_is_made_anew_after_approval(env: &Env) {
    let text = |label: &str| {
        format!(
            "services:\n  aa:\n    image: box\n    init: true\n    command: sleep 1000\n    volumes: ['data:/data']\nvolumes:\n  data:\n    labels: {{a: '{label}'}}\n"
        )
    };
    let stack = Stack::new(env, &text("1"));
    stack.run(&["up", "-d"]).ok();
    stack
        .run(&["exec", "-T", "aa", "sh", "-c", "echo old > /data/x; sync"])
        .ok();
    let ids = stack.ids(&[]);
    stack.write(&text("2"));
    let up = stack.run(&["up", "-d", "-t", "1"]).ok();
    assert!(
        up.stderr.contains("proj_data") && up.stderr.contains("--yes"),
        "{}",
        up.stderr
    );
    assert_eq!(stack.ids(&[]), ids);
    stack.run(&["up", "-d", "-t", "1", "--yes"]).ok();
    assert_ne!(stack.ids(&[]), ids);
    assert_eq!(
        stack.run(&["exec", "-T", "aa", "ls", "/data"]).ok().stdout,
        ""
    );
    stack.down();
}

fn unnamed_volumes_are_kept_or_renewed(env: &Env) {
    let text = |value: &str| {
        format!(
            "services:\n  aa:\n    image: box\n    init: true\n    command: sleep 1000\n    environment: {{A: '{value}'}}\n    volumes: [/data]\n"
        )
    };
    let stack = Stack::new(env, &text("1"));
    stack.run(&["up", "-d"]).ok();
    stack
        .run(&["exec", "-T", "aa", "sh", "-c", "echo kept > /data/x; sync"])
        .ok();
    stack.write(&text("2"));
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert_eq!(
        stack
            .run(&["exec", "-T", "aa", "cat", "/data/x"])
            .ok()
            .stdout,
        "kept\n"
    );
    stack.write(&text("3"));
    stack.run(&["up", "-d", "-t", "1", "-V"]).ok();
    assert_eq!(
        stack.run(&["exec", "-T", "aa", "ls", "/data"]).ok().stdout,
        ""
    );
    assert_eq!(
        env.isola(["volume", "ls", "-q"])
            .ok()
            .stdout
            .lines()
            .count(),
        1,
        "the old one is gone"
    );
    stack.down();
    assert_eq!(env.isola(["volume", "ls", "-q"]).ok().stdout, "");
}

fn profiles_choose(env: &Env) {
    let text = "
services:
  aa:
    image: box
    init: true
    command: sleep 1000
  bb:
    image: box
    init: true
    command: sleep 1000
    profiles: [more]
";
    let stack = Stack::new(env, text);
    stack.run(&["up", "-d"]).ok();
    assert_eq!(stack.states(), ["proj-aa-1 running"]);
    stack.run(&["up", "-d", "bb"]).ok();
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-bb-1 running"]);
    stack.down();
    assert!(stack.states().is_empty(), "down takes all of them");
    stack.put(".env", "COMPOSE_PROFILES=more\n");
    stack.run(&["up", "-d"]).ok();
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-bb-1 running"]);
    stack.down();
}

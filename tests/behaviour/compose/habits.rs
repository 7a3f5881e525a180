//! Habits of Docker Compose that no other file here is about.

use isola_tests::{Env, LayerFile, behaviours, layer_with};

use super::Stack;
use crate::registry::Registry;

behaviours![
    Every what_folders_hold_does_not_count,
    Every one_off_instances_are_left_alone,
    Once config_is_canonical,
    Once profiles_from_everywhere,
    Container networks_of_others_are_joined,
    Once images_are_pulled_as_policies_say,
    Every output_of_some_is_not_shown,
];

const SLEEPER: &str = "
services:
  aa:
    image: box
    init: true
    command: sleep 1000
";

fn what_folders_hold_does_not_count(env: &Env) {
    let stack = Stack::new(env, &format!("{SLEEPER}    volumes: ['./conf:/conf:ro']\n"));
    stack.run(&["up", "-d"]).ok();
    let ids = stack.ids(&[]);
    // What was not there was made.
    stack.put("conf/a", "new");
    let up = stack.run(&["up", "-d"]).ok();
    assert_eq!(up.stderr, "");
    assert_eq!(stack.ids(&[]), ids);
    let read = stack.run(&["exec", "-T", "aa", "cat", "/conf/a"]).ok();
    assert_eq!(read.stdout, "new");
    stack.down();
    assert!(
        env.files().join("proj/conf/a").is_file(),
        "it is the user's"
    );
}

fn one_off_instances_are_left_alone(env: &Env) {
    let stack = Stack::new(env, SLEEPER);
    stack.run(&["up", "-d"]).ok();
    stack.run(&["run", "-d", "--name", "once", "aa"]).ok();
    let pid = || env.inspect("once", "{{.State.Pid}}");
    let before = pid();
    stack.run(&["restart", "-t", "1"]).ok();
    assert_eq!(pid(), before);
    assert_eq!(stack.run(&["up", "-d"]).ok().stderr, "", "it is no replica");
    env.isola(["stop", "-t", "1", "once"]).ok();
    stack.run(&["stop", "-t", "1"]).ok();
    stack.run(&["start"]).ok();
    assert_eq!(env.inspect("once", "{{.State.Status}}"), "exited");
    assert_eq!(env.inspect("proj-aa-1", "{{.State.Status}}"), "running");
    stack.down();
}

fn config_is_canonical(env: &Env) {
    let text = "
services:
  web:
    image: nginx:${TAG:-1}
    command: serve --port 80
    ports: ['8080:80']
    depends_on: [db]
    environment: [PRICE=5$$]
  db: {image: db, profiles: [data], volumes: ['data:/data', './conf:/conf:ro']}
volumes: {data: }
";
    let stack = Stack::new(env, text);
    let config = |words: &[&str]| {
        let words = [&["--profile", "*", "config"], words].concat();
        stack.run(&words).ok().stdout
    };
    let yaml = config(&[]);
    for line in [
        "name: proj\n",
        "    image: nginx:1\n",
        "    - --port\n",
        "    - mode: ingress\n",
        "      published: '8080'\n",
        "        condition: service_started\n",
        "      PRICE: 5$$\n",
        "    name: proj_data\n",
        "    name: proj_default\n",
    ] {
        assert!(yaml.contains(line), "{line}{yaml}");
    }
    let folder = env.files().join("proj/conf");
    assert!(
        yaml.contains(&format!("source: {}\n", folder.display())),
        "{yaml}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&config(&["--format", "json"])).expect("JSON");
    assert_eq!(json["services"]["web"]["ports"][0]["target"], 80);
    assert_eq!(json["services"]["web"]["environment"]["PRICE"], "5$$");
    // What is printed is read as the same.
    stack.write(&yaml);
    assert_eq!(config(&[]), yaml);
    stack.write(text);
    stack.put(".env", "TAG=2\n");
    assert!(config(&[]).contains("image: nginx:2\n"));
    let raw = config(&["--no-interpolate"]);
    assert!(raw.contains("image: nginx:${TAG:-1}\n"), "{raw}");
    assert!(raw.contains("PRICE: 5$$\n"), "{raw}");
    assert_eq!(config(&["--services"]), "db\nweb\n");
    assert_eq!(config(&["--images"]), "db\nnginx:2\n");
    assert_eq!(config(&["--volumes"]), "data\n");
    assert_eq!(config(&["--networks"]), "default\n");
    assert_eq!(config(&["--profiles"]), "data\n");
    assert_eq!(config(&["-q"]), "");
}

fn profiles_from_everywhere(env: &Env) {
    let text = "
services:
  base: {image: box}
  one: {image: box, profiles: [a], depends_on: [base]}
  two: {image: box, profiles: [b, both]}
  three: {image: box, profiles: [c], depends_on: [two]}
";
    let stack = Stack::new(env, text);
    let services = |words: &[&str]| {
        let words = [words, &["config", "--services"]].concat();
        let text = stack.run(&words).ok().stdout;
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(services(&[]), "base");
    assert_eq!(services(&["--profile", "a"]), "base one");
    assert_eq!(
        services(&["--profile", "a", "--profile", "both"]),
        "base one two"
    );
    assert_eq!(services(&["--profile", "*"]), "base one three two");
    stack.put(".env", "COMPOSE_PROFILES=a,b\n");
    assert_eq!(services(&[]), "base one two");
    assert_eq!(
        services(&["--profile", "both"]),
        "base two",
        "flags replace variables"
    );
    stack.put(".env", "");
    // A service that is named is on, with what it depends on if that is.
    let dry = stack.run(&["up", "--dry-run", "one"]).ok().stdout;
    assert!(
        dry.contains("create proj-one-1") && dry.contains("create proj-base-1"),
        "{dry}"
    );
    stack
        .run(&["up", "--dry-run", "three"])
        .fails(1, "profiles turn off");
    let words = ["--profile", "b", "up", "--dry-run", "three"];
    let dry = stack.run(&words).ok().stdout;
    assert!(dry.contains("create proj-two-1"), "{dry}");
}

fn networks_of_others_are_joined(env: &Env) {
    env.host().with_neighbour();
    let text = "
services:
  host: {image: box, command: ip -o link, network_mode: host}
  other: {image: box, command: ip -o addr show eth0, network_mode: 'container:outside'}
  none: {image: box, command: ip -o link, network_mode: none}
";
    let stack = Stack::new(env, text);
    stack.run(&["up", "-d"]).fails(1, "outside");
    env.detached("outside", &["--init"], &["sleep", "1000"]);
    stack.run(&["up", "-d"]).ok();
    let logs = |service: &str| {
        env.isola(["wait", &format!("proj-{service}-1")]).ok();
        stack.logs(service)
    };
    assert!(logs("host").contains("wire"), "{}", logs("host"));
    let address = env.inspect("outside", "{{.NetworkSettings.IPAddress}}");
    assert!(logs("other").contains(&address), "{}", logs("other"));
    assert!(!logs("none").contains("eth0"), "{}", logs("none"));
    let networks = env.isola(["network", "ls", "-q", "--filter", "name=proj"]);
    assert_eq!(networks.ok().stdout, "", "nobody is in the default one");
    stack.down();
}

/// Puts an image that says `word` into a registry, and takes it away here.
pub(super) fn publish(env: &Env, name: &str, word: &str) {
    let layer = layer_with(&[LayerFile {
        path: "etc/word",
        mode: 0o644,
        owner: 0,
        content: word.as_bytes(),
    }]);
    env.isola_with(["import", "--change", "ENV PATH=/bin", "-", name], &layer)
        .ok();
    env.isola(["push", "-q", name]).ok();
    env.isola(["rmi", "-f", name]).ok();
}

fn images_are_pulled_as_policies_say(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/team/said:1", registry.host);
    let absent = format!("{}/team/absent:1", registry.host);
    let text = |policy: &str| {
        format!(
            "services:\n  aa:\n    image: {name}\n    init: true\n    command: sleep 1000\n    pull_policy: {policy}\n"
        )
    };
    let word = |stack: &Stack<'_>| {
        let words = ["exec", "-T", "aa", "cat", "/etc/word"];
        stack.run(&words).ok().stdout
    };
    publish(env, &name, "one");
    let stack = Stack::new(env, &text("never"));
    stack.run(&["up", "-d"]).fails(1, "services.aa");
    stack.write(&text("missing"));
    stack
        .run(&["up", "-d", "--pull", "never"])
        .fails(1, "services.aa");
    assert!(stack.states().is_empty());
    stack.run(&["up", "-d"]).ok();
    assert_eq!(word(&stack), "one");
    let ids = stack.ids(&[]);
    // A newer one is taken by those only who ask for it.
    let running = env.inspect("proj-aa-1", "{{.Image}}");
    env.isola(["tag", &name, "kept"]).ok();
    publish(env, &name, "two");
    env.isola(["tag", "kept", &name]).ok();
    stack.run(&["up", "-d"]).ok();
    assert_eq!(stack.ids(&[]), ids);
    assert_eq!(env.inspect("proj-aa-1", "{{.Image}}"), running);
    stack.write(&text("always"));
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert_ne!(stack.ids(&[]), ids, "another image, another instance");
    assert_eq!(word(&stack), "two");
    stack.down();
    let broken = format!("{}  bb: {{image: '{absent}'}}\n", text("missing"));
    stack.write(&broken);
    env.isola(["rmi", "-f", &name]).ok();
    stack.run(&["pull", "-q"]).fails(1, "services.bb");
    stack.run(&["up", "-d"]).fails(1, "services.bb");
    assert!(stack.states().is_empty(), "nothing is made before");
    let pull = stack.run(&["pull", "-q", "--ignore-pull-failures"]).ok();
    assert!(pull.stderr.contains("warning: services.bb"), "{pull:?}");
    stack.run(&["up", "-d", "--no-deps", "aa"]).ok();
    assert_eq!(word(&stack), "two");
    stack.down();
}

fn output_of_some_is_not_shown(env: &Env) {
    let text = "
services:
  aa: {image: box, command: echo from aa}
  bb: {image: box, command: echo from bb, attach: false}
  cc: {image: box, command: echo from cc}
";
    let stack = Stack::new(env, text);
    let shown = |words: &[&str]| {
        let words = [&["up", "--force-recreate"], words].concat();
        let out = stack.run(&words).ok().stdout;
        let said = |word: &&&str| out.contains(&format!("from {word}"));
        ["aa", "bb", "cc"]
            .iter()
            .filter(said)
            .copied()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(shown(&[]), "aa cc");
    assert_eq!(shown(&["--attach", "bb"]), "bb");
    assert_eq!(shown(&["--no-attach", "aa"]), "cc");
    stack.down();
}

//! One-off instances, `port`, `cp`, `wait` and other verbs for one service.

use isola_tests::{Env, behaviours};

use super::Stack;

behaviours![
    Every run_makes_an_instance_of_its_own,
    Every ports_of_replicas_come_from_a_pool,
    Every files_go_in_and_out,
    Every wait_ends_with_the_first,
    Every what_is_there_is_shown,
    Every names_and_addresses_are_as_asked_for,
    Container a_service_shares_anothers_network,
];

fn run_makes_an_instance_of_its_own(env: &Env) {
    let text = "
services:
  web:
    IDLE
    environment: {A: file, B: file}
    ports: ['18080:80']
    depends_on: {db: {condition: service_healthy}}
  db:
    IDLE
    healthcheck: {test: 'true', interval: 200ms}
  other:
    image: box
    command: sleep 1000
";
    let stack = Stack::new(env, text);
    let words = [
        "run",
        "--rm",
        "-T",
        "-e",
        "A=flag",
        "web",
        "sh",
        "-c",
        "echo $A $B; ping -c 1 db > /dev/null; exit 9",
    ];
    assert_eq!(stack.run(&words).exits(9).stdout, "flag file\n");
    assert_eq!(
        stack.states(),
        ["proj-db-1 running"],
        "dependencies only, and --rm"
    );
    assert_eq!(
        stack
            .run_with(&["run", "--rm", "-T", "--no-deps", "web", "cat"], b"piped")
            .ok()
            .stdout,
        "piped"
    );
    let id = stack
        .run(&["run", "-d", "--name", "once", "--service-ports", "web"])
        .ok()
        .stdout;
    assert_eq!(env.inspect("once", "{{.Id}}"), id.trim());
    assert!(env.isola(["port", "once"]).ok().stdout.contains(":18080"));
    assert_eq!(
        env.inspect(
            "once",
            "{{index .Config.Labels \"com.docker.compose.oneoff\"}}"
        ),
        "True"
    );
    assert!(
        !stack.run(&["ps"]).ok().stdout.contains("once"),
        "one-off ones are shown by -a"
    );
    stack.run(&["stop", "-t", "1"]).ok();
    assert_eq!(
        env.inspect("once", "{{.State.Status}}"),
        "running",
        "stop leaves it alone"
    );
    stack.run(&["run", "-T", "nosuch"]).fails(1, "nosuch");
    stack.down();
    assert_eq!(
        env.isola(["ps", "-aq"]).ok().stdout,
        "",
        "down takes it along"
    );
}

fn ports_of_replicas_come_from_a_pool(env: &Env) {
    let text = "
services:
  aa:
    IDLE
    scale: 2
    ports: ['16005-16006:80']
    expose: ['9000-9001']
";
    let stack = Stack::up(env, text);
    assert_eq!(
        stack.run(&["port", "--index", "1", "aa", "80"]).ok().stdout,
        "0.0.0.0:16005\n"
    );
    assert_eq!(
        stack.run(&["port", "--index", "2", "aa", "80"]).ok().stdout,
        "0.0.0.0:16006\n"
    );
    stack.run(&["port", "aa", "81"]).fails(1, "81");
    let exposed = env.inspect("proj-aa-1", "{{json .Config.ExposedPorts}}");
    assert!(
        exposed.contains("9000/tcp") && exposed.contains("9001/tcp"),
        "{exposed}"
    );
    stack
        .run(&["up", "-d", "--scale", "aa=3"])
        .fails(1, "services.aa");
    stack.down();
}

fn files_go_in_and_out(env: &Env) {
    let stack = Stack::new(env, "services:\n  aa:\n    IDLE\n    scale: 2\n");
    stack.run(&["up", "-d"]).ok();
    let file = env.files().join("in");
    std::fs::write(&file, "content").unwrap();
    let file = file.to_str().unwrap();
    stack.run(&["cp", "--all", file, "aa:/tmp/in"]).ok();
    for index in ["1", "2"] {
        assert_eq!(
            stack
                .run(&["exec", "-T", "--index", index, "aa", "cat", "/tmp/in"])
                .ok()
                .stdout,
            "content"
        );
    }
    let out = env.files().join("out");
    stack
        .run(&["cp", "--index", "2", "aa:/tmp/in", out.to_str().unwrap()])
        .ok();
    assert_eq!(std::fs::read_to_string(out).unwrap(), "content");
    stack
        .run(&["cp", "aa:/tmp/in", "aa:/tmp/out"])
        .fails(1, "SERVICE:PATH");
    stack.down();
}

fn wait_ends_with_the_first(env: &Env) {
    let text = "
services:
  job:
    image: box
    command: [sh, -c, 'sleep 1; exit 3']
  web:
    IDLE
";
    let stack = Stack::up(env, text);
    assert_eq!(
        stack
            .run(&["wait", "--down-project", "job", "web"])
            .exits(3)
            .stdout,
        "3\n"
    );
    assert!(stack.states().is_empty());
    stack.down();
}

fn what_is_there_is_shown(env: &Env) {
    let text = "
services:
  aa:
    IDLE
    volumes: ['data:/data']
volumes:
  data:
";
    let stack = Stack::up(env, text);
    let top = stack.run(&["top"]).ok().stdout;
    assert!(top.contains("aa") && top.contains("sleep 1000"), "{top}");
    let stats = stack.run(&["stats", "--no-stream"]).ok().stdout;
    assert!(stats.contains("proj-aa-1"), "{stats}");
    let images = stack.run(&["images"]).ok().stdout;
    assert!(
        images.contains("proj-aa-1") && images.contains("box"),
        "{images}"
    );
    assert_eq!(stack.run(&["volumes", "-q"]).ok().stdout, "proj_data\n");
    assert_eq!(stack.run(&["ps", "--services"]).ok().stdout, "aa\n");
    let row = env
        .isola(["compose", "-p", "proj", "ps", "--format", "json"])
        .ok()
        .stdout;
    assert!(
        row.contains("\"Service\":\"aa\"") && row.contains("\"Project\":\"proj\""),
        "{row}"
    );
    assert_eq!(env.isola(["compose", "ls", "-q"]).ok().stdout, "proj\n");
    stack.run(&["stop", "-t", "1"]).ok();
    assert_eq!(env.isola(["compose", "ls", "-q"]).ok().stdout, "");
    assert_eq!(env.isola(["compose", "ls", "-aq"]).ok().stdout, "proj\n");
    stack.down();
}

fn names_and_addresses_are_as_asked_for(env: &Env) {
    let text = "
services:
  aa:
    IDLE
    networks:
      front: {aliases: [alpha], ipv4_address: 10.78.1.9, mac_address: '02:00:00:00:00:09'}
  bb:
    IDLE
    container_name: bertha
    links: ['aa:linked']
    extra_hosts: ['far=10.9.8.7']
    networks: [front]
  cc:
    image: box
    command: ip addr
    network_mode: none
networks:
  front:
    ipam: {config: [{subnet: 10.78.1.0/24}]}
";
    let stack = Stack::up(env, text);
    for name in ["alpha", "aa", "linked", "proj-aa-1"] {
        let found = stack.inside("bb", &["ping", "-c", "1", name]);
        assert!(found.contains("10.78.1.9"), "{name}: {found}");
    }
    assert!(
        stack
            .inside("bb", &["cat", "/etc/hosts"])
            .contains("10.9.8.7")
    );
    let links = stack.inside("aa", &["ip", "addr"]);
    assert!(links.contains("02:00:00:00:00:09"), "{links}");
    assert_eq!(env.inspect("bertha", "{{.State.Status}}"), "running");
    env.isola(["wait", "proj-cc-1"]).ok();
    assert!(!stack.logs("cc").contains("eth0"), "{}", stack.logs("cc"));
    stack.down();
}

fn a_service_shares_anothers_network(env: &Env) {
    let text = |value: &str| {
        format!(
            "services:\n  aa:\n    IDLE\n    environment: {{A: '{value}'}}\n  bb:\n    IDLE\n    network_mode: service:aa\n"
        )
    };
    let stack = Stack::up(env, &text("1"));
    let address = |service: &str| stack.inside(service, &["ip", "addr", "show", "eth0"]);
    assert_eq!(address("aa"), address("bb"));
    stack.write(&text("2"));
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert_eq!(address("aa"), address("bb"), "it follows the new one");
    stack.down();
}

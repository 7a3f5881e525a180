//! `pid`, `ipc`, `uts` and `cgroup` of services.

use isola_tests::{Env, behaviours, until};

use super::Stack;

behaviours![
    Container services_share_namespaces,
    Container a_service_follows_the_one_it_joined,
    Container an_instance_outside_is_joined,
    Once sharing_that_cannot_be_is_refused_with_its_place,
    Guests no_guest_shares_a_namespace,
];

fn namespace(stack: &Stack<'_>, service: &str, kind: &str) -> String {
    let path = format!("/proc/self/ns/{kind}");
    let output = stack.run(&["exec", "-T", service, "readlink", &path]);
    output.ok().stdout
}

fn own(kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    format!("{}\n", link.display())
}

fn services_share_namespaces(env: &Env) {
    let text = "
services:
  aa:
    image: box
    pid: service:zz
    ipc: service:zz
    command: sh -c 'cat /dev/shm/word; exec sleep 1000'
  hh: {image: box, init: true, command: sleep 1000, pid: host, ipc: host, uts: host, cgroup: host}
  nn: {image: box, init: true, command: sleep 1000, pid: '', ipc: none, uts: '${UNSET:-}', cgroup: private}
  zz:
    image: box
    init: true
    ipc: shareable
    command: sh -c 'echo shared > /dev/shm/word; exec sleep 1000'
    healthcheck: {test: [CMD, test, -e, /dev/shm/word], interval: 100ms}
";
    let stack = Stack::new(env, text);
    // It is made and started before the one that joins it.
    let plan = stack.run(&["up", "--dry-run", "aa"]).ok().stdout;
    let at = |words: &str| {
        plan.find(words)
            .unwrap_or_else(|| panic!("{words}: {plan}"))
    };
    assert!(at("start proj-zz-1") < at("start proj-aa-1"), "{plan}");
    stack.run(&["up", "-d", "--wait", "zz"]).ok();
    stack.run(&["up", "-d"]).ok();
    until("it has read it", || stack.logs("aa") == "shared\n");
    for kind in ["pid", "ipc"] {
        assert_eq!(namespace(&stack, "aa", kind), namespace(&stack, "zz", kind));
    }
    for kind in ["pid", "ipc", "uts", "cgroup"] {
        assert_eq!(namespace(&stack, "hh", kind), own(kind), "{kind}");
        assert_ne!(namespace(&stack, "nn", kind), own(kind), "{kind}");
    }
    let modes = "{{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}";
    assert_eq!(
        env.inspect("proj-aa-1", modes),
        "container:proj-zz-1 container:proj-zz-1"
    );
    assert_eq!(env.inspect("proj-nn-1", "{{.HostConfig.IpcMode}}"), "none");
    // Nothing has changed.
    let again = stack.run(&["up", "--dry-run"]).ok().stdout;
    assert_eq!(again, "", "{again}");
    stack.down();
}

fn a_service_follows_the_one_it_joined(env: &Env) {
    let text = |value: &str| {
        format!(
            "services:\n  zz:\n    image: box\n    init: true\n    command: sleep 1000\n    environment: {{A: '{value}'}}\n  aa:\n    image: box\n    command: sleep 1000\n    pid: service:zz\n"
        )
    };
    let stack = Stack::new(env, &text("1"));
    stack.run(&["up", "-d"]).ok();
    let before = namespace(&stack, "aa", "pid");
    assert_eq!(before, namespace(&stack, "zz", "pid"));
    stack.write(&text("2"));
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-zz-1 running"]);
    let after = namespace(&stack, "aa", "pid");
    assert_eq!(after, namespace(&stack, "zz", "pid"));
    let other = env.inspect("proj-zz-1", "{{.Config.Env}}");
    assert!(other.contains("A=2"), "{other}");
    stack.run(&["restart", "-t", "1"]).ok();
    let pair = ["aa", "zz"].map(|service| namespace(&stack, service, "pid"));
    assert_eq!(pair[0], pair[1]);
    stack.run(&["stop", "-t", "1"]).ok();
    stack.run(&["start"]).ok();
    assert_eq!(stack.states(), ["proj-aa-1 running", "proj-zz-1 running"]);
    let run = ["run", "--rm", "-T", "aa", "readlink", "/proc/self/ns/pid"];
    assert_eq!(stack.run(&run).ok().stdout, namespace(&stack, "zz", "pid"));
    stack.down();
}

fn an_instance_outside_is_joined(env: &Env) {
    env.detached(
        "outside",
        &["--init", "--ipc", "shareable"],
        &["sleep", "1000"],
    );
    let text = "
services:
  aa: {image: box, command: sleep 1000, pid: 'container:outside', ipc: 'container:outside'}
";
    let stack = Stack::new(env, text);
    stack.run(&["up", "-d"]).ok();
    for kind in ["pid", "ipc"] {
        let path = format!("/proc/self/ns/{kind}");
        let outside = env.exec("outside", &["readlink", &path]).ok().stdout;
        assert_eq!(namespace(&stack, "aa", kind), outside);
    }
    stack.run(&["stop", "-t", "1"]).ok();
    env.isola(["stop", "-t", "0", "outside"]).ok();
    let up = stack.run(&["up", "-d"]);
    assert_eq!(up.code, 1);
    assert!(up.stderr.contains("it does not run"), "{}", up.stderr);
    stack.down();
}

fn sharing_that_cannot_be_is_refused_with_its_place(env: &Env) {
    for (lines, place, words) in [
        ("pid: hots", "5:10", "`pid: hots` is no mode"),
        ("pid: 'service:'", "5:10", "service `` is not declared"),
        ("pid: 'container:'", "5:10", "`pid: container:` is no mode"),
        ("ipc: service:zz", "5:10", "does not share its own"),
        ("ipc: hots", "5:10", "`ipc: hots` is no mode"),
        ("uts: service:zz", "5:10", "`uts: service:zz` is no mode"),
        ("cgroup: shared", "5:13", "cgroup"),
        ("pid: service:nosuch", "5:10", "`nosuch`"),
        ("pid: service:aa", "5:10", "circle"),
        (
            "uts: host\n    hostname: xx",
            "6:15",
            "`hostname` and `uts: host`",
        ),
        (
            "ipc: host\n    shm_size: 1m",
            "6:15",
            "`shm_size` and `ipc: host`",
        ),
        (
            "isolation: container\n    pid: service:gg",
            "6:10",
            "`gg` is behind the wall vm",
        ),
        (
            "isolation: container\n    network_mode: service:gg",
            "6:19",
            "`gg` is behind the wall vm",
        ),
        ("isolation: vm\n    pid: host", "6:10", "behind the wall vm"),
        (
            "isolation: vm\n    ipc: shareable",
            "6:10",
            "behind the wall vm",
        ),
        (
            "isolation: emulated\n    uts: host",
            "6:10",
            "behind the wall emulated",
        ),
        (
            "isolation: vm\n    cgroup: host",
            "6:13",
            "behind the wall vm",
        ),
        (
            "isolation: vm\n    ipc: service:zz",
            "6:10",
            "behind the wall vm",
        ),
    ] {
        let text = format!(
            "services:\n  zz: {{image: box, isolation: container}}\n  aa:\n    image: box\n    {lines}\n  gg: {{image: box, isolation: vm}}\n"
        );
        let stack = Stack::new(env, &text);
        super::bad::refused(env, &stack, lines, &format!("compose.yaml:{place}"), words);
    }
}

fn no_guest_shares_a_namespace(env: &Env) {
    let text = "
services:
  aa: {image: box, command: 'true', pid: private, ipc: private, uts: private, cgroup: private}
";
    let stack = Stack::new(env, text);
    stack.run(&["up"]).ok();
    stack.down();
    stack.write("services:\n  aa: {image: box}\n  bb: {image: box, pid: 'service:aa'}\n");
    let words = format!("behind the wall {}", env.wall().name());
    super::bad::refused(env, &stack, "by default", "compose.yaml:3:25", &words);
}

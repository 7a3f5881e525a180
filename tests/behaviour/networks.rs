//! Networks: instances on one bridge find and reach each other, whatever their walls.

use std::net::TcpListener;

use isola_tests::wire::{self, PATIENCE, SILENCE};
use isola_tests::{Env, HOST, NEIGHBOUR, NEIGHBOUR6, Wall, behaviours};

behaviours![
    Every the_default_network_is_made_on_first_use,
    Every instances_find_each_other_by_name,
    Every much_crosses_the_bridge_unharmed,
    Every addresses_are_as_asked,
    Every several_networks_at_once,
    Every connected_and_disconnected_while_it_runs,
    Container connected_and_disconnected_while_it_stands,
    Every internal_networks_have_no_way_out,
    Container networks_are_closed_to_each_other,
    Container the_network_of_another_instance,
    Guests networks_that_no_guest_can_have,
    Every none_is_loopback_only,
    Container the_hosts_own_network,
    Every a_restart_keeps_names_and_addresses,
    Every a_killed_supervisor_gives_all_back,
];

/// Makes a network.
pub(crate) fn create(env: &Env, name: &str, options: &[&str]) {
    env.isola([&["network", "create"], options, &[name]].concat())
        .ok();
}

/// A field of an instance's place in a network, as `IPAddress`.
pub(crate) fn place(env: &Env, name: &str, network: &str, field: &str) -> String {
    let all = env.json(&["inspect", name]);
    let value = &all[0]["NetworkSettings"]["Networks"][network][field];
    let text = value.as_str().unwrap_or_default().to_owned();
    assert!(!text.is_empty(), "no {field} of {name} in {network}: {all}");
    text
}

pub(crate) fn address(env: &Env, name: &str, network: &str) -> String {
    place(env, name, network, "IPAddress")
}

/// What an instance of these tests with `probe serve` says to another one.
pub(crate) fn ask(env: &Env, from: &str, protocol: &str, to: &str) -> String {
    let output = env.exec(from, &["probe", "ask", protocol, to]).ok();
    output.stdout.trim().to_owned()
}

pub(crate) fn dns(env: &Env, from: &str, words: &[&str]) -> String {
    let output = env.exec(from, &[&["probe", "dns"], words].concat()).ok();
    output.stdout.trim().to_owned()
}

/// Nothing answers there.
fn no_way(env: &Env, from: &str, to: &str) {
    let script = format!("timeout 2 probe ask tcp {to}");
    let output = env.exec(from, &["sh", "-c", &script]);
    assert_ne!(output.code, 0, "{from} has reached {to}: {output:?}");
}

const CONTAINER: &[&str] = &["--isolation", "container"];

fn the_default_network_is_made_on_first_use(env: &Env) {
    assert_eq!(env.isola(["network", "ls", "-q"]).ok().stdout, "");
    let script = "ip -o addr show eth0; ip route; ping -c 1 -W 5 -q $(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p')";
    let output = env.run(&[], &["sh", "-c", script]).ok().stdout;
    assert!(output.contains("inet "), "{output}");
    assert!(output.contains("default via "), "{output}");
    assert!(output.contains(" 0% packet loss"), "{output}");
    let format = ["network", "ls", "--format", "{{.Name}} {{.Driver}}"];
    assert_eq!(env.isola(format).ok().stdout, "default bridge\n");
    let all = env.json(&["network", "inspect", "default"]);
    assert_eq!(all[0]["Containers"], serde_json::json!({}));
    env.isola(["network", "prune", "-f"]).ok();
    assert_eq!(
        env.isola(format).ok().stdout,
        "default bridge\n",
        "prune leaves the default network"
    );
}

fn instances_find_each_other_by_name(env: &Env) {
    create(env, "lan", &["--ipv6"]);
    create(env, "other", &[]);
    // One behind the wall of this run, and one that is a container.
    let options = ["--network", "lan", "--network-alias", "db", "-h", "harry"];
    let id = env.ready("aa", &options, &["probe", "serve", "tcp:80"]);
    let options = [CONTAINER, &["--network", "lan"]].concat();
    env.ready("bb", &options, &["probe", "serve", "tcp:80"]);
    let options = [CONTAINER, &["--network", "other"]].concat();
    env.ready("stranger", &options, &["probe", "serve", "tcp:80"]);
    let (v4, v6) = (
        address(env, "aa", "lan"),
        place(env, "aa", "lan", "GlobalIPv6Address"),
    );
    let (b4, b6) = (
        address(env, "bb", "lan"),
        place(env, "bb", "lan", "GlobalIPv6Address"),
    );
    for name in ["aa", "AA", "db", "harry", &id[..12]] {
        assert_eq!(dns(env, "bb", &[name]), format!("NoError {v4}"), "{name}");
        let six = dns(env, "bb", &[name, "AAAA"]);
        assert_eq!(six, format!("NoError {v6}"), "{name}");
    }
    let reverse = dns(env, "bb", &[&v4, "PTR"]);
    assert!(reverse.starts_with("NoError aa"), "{reverse}");
    let reverse = dns(env, "bb", &[&v6, "PTR"]);
    assert!(reverse.starts_with("NoError aa"), "{reverse}");
    assert_eq!(dns(env, "aa", &["bb"]), format!("NoError {b4}"));
    assert_eq!(dns(env, "aa", &["bb", "AAAA"]), format!("NoError {b6}"));
    for from in ["aa", "bb"] {
        let unknown = dns(env, from, &["stranger"]);
        assert!(!unknown.starts_with("NoError"), "{from}: {unknown}");
    }
    // Both ways, both families; each sees who asks.
    assert_eq!(ask(env, "bb", "tcp", &format!("{v4}:80")), b4);
    assert_eq!(ask(env, "aa", "tcp", &format!("{b4}:80")), v4);
    assert_eq!(ask(env, "bb", "tcp", &format!("[{v6}]:80")), b6);
    assert_eq!(ask(env, "aa", "tcp", &format!("[{b6}]:80")), v6);
    // As programs do it that know nothing of this test.
    env.exec("aa", &["ping", "-c", "1", "-W", "5", "bb"]).ok();
    env.exec("bb", &["nslookup", "db"]).ok();
    let all = env.json(&["network", "inspect", "lan"]);
    let members = all[0]["Containers"].as_object().unwrap();
    assert_eq!(members.len(), 2);
    assert!(
        members[&id]["IPv4Address"]
            .as_str()
            .unwrap()
            .starts_with(&v4)
    );
}

fn much_crosses_the_bridge_unharmed(env: &Env) {
    create(env, "lan", &[]);
    env.ready("aa", &["--network", "lan"], &["probe", "serve", "sum:90"]);
    let options = [CONTAINER, &["--network", "lan"]].concat();
    env.ready("bb", &options, &["probe", "serve", "sum:90"]);
    let bytes = match env.wall() {
        Wall::Emulated => "6000001",
        _ => "40000001",
    };
    for (from, to) in [("aa", "bb"), ("bb", "aa")] {
        let to = format!("{}:90", address(env, to, "lan"));
        env.exec(from, &["probe", "send", &to, bytes]).ok();
    }
    // And to the host, whose own checksums are of another kind.
    env.host().with_neighbour();
    let listener = env
        .host()
        .outside(|| TcpListener::bind((NEIGHBOUR, 90)))
        .unwrap();
    wire::serve_sums(listener);
    let to = format!("{NEIGHBOUR}:90");
    env.exec("aa", &["probe", "send", &to, bytes]).ok();
}

fn addresses_are_as_asked(env: &Env) {
    let subnets = ["--subnet", "10.9.0.0/24", "--subnet", "fd09::/64"];
    create(env, "lan", &subnets);
    let options = [
        "--network",
        "lan",
        "--ip",
        "10.9.0.77",
        "--ip6",
        "fd09::77",
        "--mac-address",
        "02:aa:bb:cc:dd:ee",
    ];
    env.detached("aa", &options, &["sleep", "1000"]);
    let shown = env.exec("aa", &["ip", "addr", "show", "eth0"]).ok().stdout;
    for word in ["10.9.0.77/24", "fd09::77/64", "02:aa:bb:cc:dd:ee"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let routes = env.exec("aa", &["ip", "-6", "route"]).ok().stdout;
    assert!(routes.contains("default via fd09::1"), "{routes}");
    if env.wall() != Wall::Container {
        return;
    }
    let run = |options: &[&str], words: &str| {
        env.run(&[&["--network", "lan"], options].concat(), &["true"])
            .fails(125, words);
    };
    run(&["--ip", "10.9.0.77"], "used by aa");
    run(&["--ip6", "fd09::77"], "used by aa");
    run(&["--mac-address", "02:aa:bb:cc:dd:ee"], "used by aa");
    run(&["--ip", "10.9.1.1"], "10.9.1.1");
    run(&["--ip", "10.9.0.1"], "gateway");
    run(&["--ip", "10.9.0.255"], "10.9.0.255");
    run(&["--ip", "fd09::5"], "fd09::5");
    run(&["--ip", "10.9.0"], "10.9.0");
    run(&["--mac-address", "03:aa:bb:cc:dd:ee"], "03:aa");
    env.isola(["rm", "-f", "aa"]).ok();
    env.run(&["--network", "lan", "--ip", "10.9.0.77"], &["true"])
        .ok();
}

fn several_networks_at_once(env: &Env) {
    create(env, "front", &["--subnet", "10.8.1.0/24"]);
    create(env, "back", &["--subnet", "10.8.2.0/24", "--internal"]);
    let words = [
        CONTAINER,
        &["--network", "front", "--network-alias", "peer"],
    ];
    env.ready("ff", &words.concat(), &["probe", "serve", "tcp:80"]);
    let words = [CONTAINER, &["--network", "back", "--network-alias", "pal"]];
    env.ready("bb", &words.concat(), &["probe", "serve", "tcp:80"]);
    let options = [
        "--network",
        "back",
        "--network",
        "name=front,alias=middle,ip=10.8.1.50",
    ];
    env.ready("aa", &options, &["probe", "serve", "tcp:80"]);
    let routes = env.exec("aa", &["ip", "route"]).ok().stdout;
    assert!(
        routes.contains("default via 10.8.1.1 dev eth1"),
        "the way out is that of the network that has one: {routes}"
    );
    for (name, network) in [("ff", "front"), ("bb", "back")] {
        let (own, theirs) = (address(env, "aa", network), address(env, name, network));
        assert_eq!(ask(env, "aa", "tcp", &format!("{theirs}:80")), own);
        assert_eq!(ask(env, name, "tcp", &format!("{own}:80")), theirs);
    }
    for name in ["peer", "pal"] {
        let found = dns(env, "aa", &[name]);
        assert!(found.starts_with("NoError 10.8."), "{name}: {found}");
        env.exec("aa", &["ping", "-c", "1", "-W", "5", name]).ok();
    }
    assert_eq!(dns(env, "ff", &["middle"]), "NoError 10.8.1.50");
    assert!(!dns(env, "bb", &["middle"]).starts_with("NoError"));
}

fn connected_and_disconnected_while_it_runs(env: &Env) {
    create(env, "lan", &["--subnet", "10.8.3.0/24"]);
    create(env, "late", &["--subnet", "10.8.4.0/24", "--ipv6"]);
    env.ready("aa", &["--network", "lan"], &["probe", "serve", "tcp:80"]);
    let options = [CONTAINER, &["--network", "late"]].concat();
    env.ready("bb", &options, &["probe", "serve", "tcp:80"]);
    let connect = |options: &[&str], network: &str| {
        env.isola([&["network", "connect"], options, &[network, "aa"]].concat())
    };
    for round in ["10.8.4.40", "10.8.4.41"] {
        connect(&["--ip", round, "--alias", "new"], "late").ok();
        let shown = env.exec("aa", &["ip", "addr", "show", "eth1"]).ok().stdout;
        assert!(shown.contains(round), "{shown}");
        assert_eq!(dns(env, "bb", &["new"]), format!("NoError {round}"));
        assert!(dns(env, "aa", &["bb"]).starts_with("NoError 10.8.4."));
        let to = address(env, "bb", "late");
        assert_eq!(ask(env, "aa", "tcp", &format!("{to}:80")), round);
        assert_eq!(ask(env, "bb", "tcp", &format!("{round}:80")), to);
        connect(&[], "late").fails(1, "already");
        env.isola(["network", "rm", "late"]).fails(1, "used by");
        env.isola(["network", "disconnect", "late", "aa"]).ok();
        let links = env.exec("aa", &["ip", "addr"]).ok().stdout;
        assert!(!links.contains("10.8.4."), "{links}");
        assert!(!dns(env, "bb", &["new"]).starts_with("NoError"));
        assert!(!dns(env, "aa", &["bb"]).starts_with("NoError"));
        no_way(env, "bb", &format!("{round}:80"));
    }
    env.isola(["network", "disconnect", "late", "aa"])
        .fails(1, "late");
    // The network that it was started with, too.
    env.isola(["network", "disconnect", "lan", "aa"]).ok();
    connect(&[], "late").ok();
    let to = address(env, "bb", "late");
    assert_eq!(
        ask(env, "aa", "tcp", &format!("{to}:80")),
        address(env, "aa", "late")
    );
    let routes = env.exec("aa", &["ip", "route"]).ok().stdout;
    assert!(routes.contains("default via 10.8.4.1"), "{routes}");
    connect(&[], "nosuch").fails(1, "nosuch");
    connect(&["--ip", "10.9.9.9"], "lan").fails(1, "10.9.9.9");
}

fn connected_and_disconnected_while_it_stands(env: &Env) {
    create(env, "lan", &["--subnet", "10.8.3.0/24"]);
    create(env, "late", &["--subnet", "10.8.4.0/24"]);
    env.isola([
        "create",
        "--name",
        "aa",
        "--network",
        "lan",
        "box",
        "ip",
        "-o",
        "addr",
    ])
    .ok();
    env.isola(["network", "connect", "--ip", "10.8.4.9", "late", "aa"])
        .ok();
    env.isola(["network", "disconnect", "lan", "aa"]).ok();
    let shown = env.isola(["start", "-a", "aa"]).ok().stdout;
    assert!(shown.contains("10.8.4.9/24"), "{shown}");
    assert!(!shown.contains("10.8.3."), "{shown}");
    env.isola(["network", "disconnect", "late", "aa"]).ok();
    let shown = env.isola(["start", "-a", "aa"]).ok().stdout;
    assert!(!shown.contains("eth"), "{shown}");
}

fn internal_networks_have_no_way_out(env: &Env) {
    for (place, port) in [(NEIGHBOUR, 81), (NEIGHBOUR6, 81)] {
        let listener = env.host().outside(|| TcpListener::bind((place, port)));
        wire::serve_tcp(listener.unwrap());
    }
    create(env, "open", &["--ipv6"]);
    create(env, "closed", &["--ipv6", "--internal"]);
    env.detached("aa", &["--network", "open"], &["sleep", "1000"]);
    let out = format!("{NEIGHBOUR}:81");
    let out6 = format!("[{NEIGHBOUR6}]:81");
    assert_eq!(ask(env, "aa", "tcp", &out), HOST, "masqueraded");
    assert_eq!(ask(env, "aa", "tcp", &out6), isola_tests::HOST6);
    env.isola(["network", "connect", "closed", "aa"]).ok();
    env.isola(["network", "disconnect", "open", "aa"]).ok();
    for to in [&out, &out6] {
        no_way(env, "aa", to);
        // Even for one who makes a way.
        let gateway = place(env, "aa", "closed", "Gateway");
        let _ = env.exec("aa", &["ip", "route", "add", "default", "via", &gateway]);
        no_way(env, "aa", to);
    }
    if env.wall() == Wall::Container {
        env.run(&["--network", "closed", "-p", "8080:80"], &["true"])
            .fails(125, "internal");
    }
}

fn networks_are_closed_to_each_other(env: &Env) {
    create(env, "closed", &[]);
    for name in ["open", "free"] {
        create(env, name, &["--opt", "isolate=false"]);
    }
    let serve = ["probe", "serve", "tcp:80"];
    for name in ["closed", "open", "free"] {
        env.ready(name, &["--network", name], &serve);
    }
    let to = |name: &str| format!("{}:80", address(env, name, name));
    no_way(env, "open", &to("closed"));
    no_way(env, "closed", &to("open"));
    let seen = ask(env, "open", "tcp", &to("free"));
    assert_eq!(seen, address(env, "open", "open"));
}

fn the_network_of_another_instance(env: &Env) {
    create(env, "lan", &["--subnet", "10.8.5.0/24"]);
    let options = ["--network", "lan", "--ip", "10.8.5.5", "-h", "one"];
    env.ready("aa", &options, &["probe", "serve", "tcp:80"]);
    let words = ["probe", "ask", "tcp", "127.0.0.1:80"];
    let output = env.run(&["--network", "container:aa"], &words).ok();
    assert_eq!(output.stdout, "127.0.0.1\n");
    let script = "hostname; grep 10.8.5.5 /etc/hosts; probe dns aa";
    let output = env.run(&["--network", "container:aa"], &["sh", "-c", script]);
    assert_eq!(output.ok().stdout, "one\n10.8.5.5 one\nNoError 10.8.5.5\n");
    let endpoint = env.inspect("aa", "{{.NetworkSettings.Networks.lan.EndpointID}}");
    assert_eq!(endpoint.len(), 64);
    let members = env.json(&["network", "inspect", "lan"])[0]["Containers"].clone();
    let mut members = members.as_object().unwrap().values();
    assert_eq!(members.next().unwrap()["EndpointID"], endpoint.as_str());
    let script = "echo $HOSTNAME";
    env.detached("bb", &["--network", "container:aa"], &["sleep", "1000"]);
    assert_eq!(env.exec("bb", &["sh", "-c", script]).ok().stdout, "one\n");
    for flag in ["-p=80:80", "--ip=10.8.5.6", "--hostname=x", "--dns=1.1.1.1"] {
        env.run(&["--network", "container:aa", flag], &["true"])
            .exits(125);
    }
    env.isola(["stop", "-t", "0", "aa"]).ok();
    env.run(&["--network", "container:aa"], &["true"])
        .fails(125, "aa");
    env.run(&["--network", "container:nosuch"], &["true"])
        .fails(125, "nosuch");
}

fn networks_that_no_guest_can_have(env: &Env) {
    for network in ["host", "container:aa"] {
        let output = env.run(&["--network", network], &["true"]).exits(125);
        let line = output.stderr.lines().next().unwrap();
        assert!(
            line.starts_with("error:") && line.contains(network),
            "{line}"
        );
    }
}

fn none_is_loopback_only(env: &Env) {
    let words = ["sh", "-c", "ip -o link; ping -c 1 -q 127.0.0.1; ip route"];
    let output = env.run(&["--network", "none"], &words).ok().stdout;
    assert!(!output.contains("eth"), "{output}");
    assert!(output.contains(" 0% packet loss"), "{output}");
    assert!(!output.contains("default"), "{output}");
    assert_eq!(env.isola(["network", "ls", "-q"]).ok().stdout, "");
    env.run(&["--network", "none", "--network", "default"], &["true"])
        .fails(125, "none");
}

fn the_hosts_own_network(env: &Env) {
    env.host().with_neighbour();
    let listener = env.host().inside(|| TcpListener::bind("127.0.0.1:7070"));
    wire::serve_tcp(listener.unwrap());
    let script = "ip -o link show wire; probe ask tcp 127.0.0.1:7070; cat /etc/resolv.conf";
    let output = env.run(&["--network", "host"], &["sh", "-c", script]);
    let output = output.ok().stdout;
    assert!(output.contains("wire"), "{output}");
    assert!(output.contains("127.0.0.1\n"), "{output}");
    let resolvers = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert!(output.ends_with(&resolvers), "{output}");
}

fn a_restart_keeps_names_and_addresses(env: &Env) {
    create(env, "lan", &["--subnet", "10.8.6.0/24"]);
    let options = [
        "--network",
        "lan",
        "--ip",
        "10.8.6.60",
        "-p",
        "127.0.0.1:8080:80",
    ];
    env.ready("aa", &options, &["probe", "serve", "tcp:80"]);
    let options = [CONTAINER, &["--network", "lan"]].concat();
    env.detached("bb", &options, &["sleep", "1000"]);
    env.isola(["restart", "-t", "0", "aa"]).ok();
    env.start(["logs", "-f", "aa"]).expect("ready\nready");
    assert_eq!(dns(env, "bb", &["aa"]), "NoError 10.8.6.60");
    let own = address(env, "bb", "lan");
    assert_eq!(ask(env, "bb", "tcp", "10.8.6.60:80"), own);
    let to = "127.0.0.1:8080".parse().unwrap();
    env.host().inside(|| wire::ask_tcp(to, PATIENCE)).unwrap();
    env.isola(["stop", "-t", "0", "aa"]).ok();
    assert!(!dns(env, "bb", &["aa"]).starts_with("NoError"));
    assert!(env.host().inside(|| wire::ask_tcp(to, SILENCE)).is_err());
    TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = env.host().inside(|| TcpListener::bind("127.0.0.1:8080"));
    assert!(bound.is_ok(), "the port of a stopped instance is free");
    drop(bound);
    env.isola(["rename", "aa", "cc"]).ok();
    env.isola(["start", "cc"]).ok();
    assert_eq!(dns(env, "bb", &["cc"]), "NoError 10.8.6.60");
}

fn a_killed_supervisor_gives_all_back(env: &Env) {
    create(env, "lan", &["--subnet", "10.8.7.0/29"]);
    let options = ["--network", "lan", "--ip", "10.8.7.2", "-p", "8080:80"];
    env.ready("aa", &options, &["probe", "serve", "tcp:80"]);
    let pid: i32 = env
        .inspect("aa", "{{.State.SupervisorPid}}")
        .parse()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    isola_tests::until("exited", || {
        env.inspect("aa", "{{.State.Status}}") == "exited"
    });
    isola_tests::until("nothing is left", || env.host().left().is_empty());
    env.isola(["rm", "aa"]).ok();
    // All of it can be had again at once.
    let options = ["--name=aa", "--network=lan", "--ip=10.8.7.2", "-p=8080:80"];
    env.run(&options, &["true"]).ok();
}

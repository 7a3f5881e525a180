//! Names and networks as records: what `isola network` says and refuses, name servers,
//! /etc/hosts and resolv.conf.

use std::net::{TcpListener, UdpSocket};
use std::process::Stdio;

use isola_tests::{Env, behaviours, until, wire};

use crate::networks::{address, create, dns};

behaviours![
    Once networks_are_made_listed_and_removed,
    Once networks_that_can_not_be,
    Once unknown_networks_are_an_error,
    Every hosts_and_resolvers_are_written,
    Every hosts_and_resolvers_follow_the_networks,
    Every other_names_are_asked_of_the_hosts_resolvers,
    Container several_addresses_of_one_name,
    Container the_host_is_found_and_reached,
    Container a_killed_name_server_comes_back,
    Container name_servers_come_and_go_with_members,
    Container a_network_in_use_stays,
    Container small_networks_run_out_of_addresses,
    Container a_hundred_at_once_on_a_small_network,
    Container tables_of_others_stay,
    Container forwarding_only_where_it_is_needed,
];

fn networks_are_made_listed_and_removed(env: &Env) {
    let words = [
        "network",
        "create",
        "--driver=bridge",
        "--subnet=10.9.0.0/24",
        "--gateway=10.9.0.254",
        "--ip-range=10.9.0.128/25",
        "--subnet=fd09::/64",
        "--internal",
        "--label=team=a",
        "--opt=mtu=1400",
        "--opt=isolate=false",
        "lan",
    ];
    let id = env.isola(words).ok().stdout.trim().to_owned();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let all = env.json(&["network", "inspect", "lan"]);
    let lan = &all[0];
    for (key, value) in [
        ("Name", serde_json::json!("lan")),
        ("Id", serde_json::json!(id)),
        ("Driver", serde_json::json!("bridge")),
        ("Internal", serde_json::json!(true)),
        ("EnableIPv6", serde_json::json!(true)),
        ("Labels", serde_json::json!({"team": "a"})),
        ("Containers", serde_json::json!({})),
    ] {
        assert_eq!(lan[key], value, "{key}");
    }
    let first = serde_json::json!({
        "Subnet": "10.9.0.0/24", "Gateway": "10.9.0.254", "IPRange": "10.9.0.128/25"
    });
    assert_eq!(lan["IPAM"]["Config"][0], first);
    create(env, "second", &["--label", "team=b"]);
    let ls = |filter: &str| {
        let words = ["network", "ls", "--filter", filter, "--format", "{{.Name}}"];
        env.isola(words).ok().stdout
    };
    assert_eq!(ls("driver=bridge"), "lan\nsecond\n");
    assert_eq!(ls("label=team=a"), "lan\n");
    assert_eq!(ls("name=sec"), "second\n");
    assert_eq!(ls(&format!("id={}", &id[..8])), "lan\n");
    env.isola(["network", "ls", "--filter", "nosuch=1"])
        .fails(1, "nosuch");
    assert_eq!(
        env.isola(["network", "rm", &id[..12]]).ok().stdout.trim(),
        &id[..12]
    );
    create(env, "third", &["--label", "team=b"]);
    let pruned = ["network", "prune", "-f", "--filter", "label=team=b"];
    let pruned = env.isola(pruned).ok().stdout;
    assert!(
        pruned.contains("second") && pruned.contains("third"),
        "{pruned}"
    );
    assert_eq!(env.isola(["network", "ls", "-q"]).ok().stdout, "");
}

fn networks_that_can_not_be(env: &Env) {
    env.host().with_neighbour();
    create(env, "lan", &["--subnet", "10.9.0.0/24"]);
    let refused = |words: &[&str], why: &str| {
        env.isola([&["network", "create"], words].concat())
            .fails(1, why);
    };
    refused(&["lan"], "lan");
    for name in [
        "../x",
        "",
        "a b",
        "-x",
        "host",
        "none",
        "default",
        "bridge",
        "container",
    ] {
        env.isola(["network", "create", "--", name]).exits(1);
    }
    for (options, why) in [
        // Taken by another network, and by a route of the host.
        (&["--subnet=10.9.0.0/24"][..], "lan"),
        (&["--subnet=10.9.0.128/25"], "lan"),
        (&["--subnet=10.8.0.0/15"], "lan"),
        (&["--subnet=192.0.2.0/25"], "192.0.2.0/24"),
        (&["--subnet=2001:db8::/80"], "2001:db8::/64"),
        // Malformed.
        (&["--subnet=10.1.0.0"], "10.1.0.0"),
        (&["--subnet=10.1.0.0/33"], "10.1.0.0/33"),
        (&["--subnet=10.1.0.1/24"], "10.1.0.1/24"),
        (&["--subnet=10.1.0.0/31"], "small"),
        (&["--subnet=127.0.0.0/16"], "127.0.0.0/16"),
        (&["--subnet=224.0.0.0/16"], "224.0.0.0/16"),
        (
            &["--subnet=10.1.0.0/24", "--subnet=10.2.0.0/24"],
            "one subnet",
        ),
        // Not of the subnet.
        (&["--gateway=10.1.0.1"], "--subnet"),
        (&["--subnet=10.1.0.0/24", "--gateway=10.2.0.1"], "10.2.0.1"),
        (
            &["--subnet=10.1.0.0/24", "--gateway=10.1.0.255"],
            "10.1.0.255",
        ),
        (&["--subnet=10.1.0.0/24", "--gateway=x"], "x"),
        (
            &["--subnet=10.1.0.0/24", "--ip-range=10.2.0.0/25"],
            "10.2.0.0/25",
        ),
        (&["--ip-range=10.2.0.0/25"], "--subnet"),
        // Unknown.
        (&["--driver=macvlan"], "macvlan"),
        (&["--opt=nosuch=1"], "nosuch"),
        (&["--opt=mtu=10"], "mtu"),
        (&["--opt=isolate=perhaps"], "isolate"),
        (&["--ipv6", "--opt=mtu=1000"], "mtu"),
        (&["--label="], "label"),
    ] {
        refused(&[options, &["new"]].concat(), why);
    }
    let names = ["network", "ls", "--format", "{{.Name}}"];
    assert_eq!(env.isola(names).ok().stdout, "lan\n");
}

fn unknown_networks_are_an_error(env: &Env) {
    env.isola(["create", "--name", "aa", "box"]).ok();
    for words in [
        &["network", "inspect", "nosuch"][..],
        &["network", "rm", "nosuch"],
        &["network", "connect", "nosuch", "aa"],
        &["network", "disconnect", "nosuch", "aa"],
        &["network", "connect", "default", "nosuch"],
    ] {
        let output = env.isola(words).exits(1);
        assert!(output.stderr.contains("nosuch"), "{words:?}: {output:?}");
    }
    env.isola(["run", "--rm", "--network", "nosuch", "box"])
        .fails(125, "nosuch");
    env.isola(["run", "--rm", "--network", "../x", "box"])
        .fails(125, "../x");
    env.isola(["network", "rm", "-f", "nosuch"]).ok();
    assert_eq!(
        env.isola(["ps", "-aq", "--format", "{{.Names}}"])
            .ok()
            .stdout,
        "aa\n"
    );
}

fn hosts_and_resolvers_are_written(env: &Env) {
    create(
        env,
        "lan",
        &["--subnet", "10.9.0.0/24", "--gateway", "10.9.0.9"],
    );
    let options = [
        "--network",
        "lan",
        "--ip",
        "10.9.0.5",
        "-h",
        "one",
        "--domainname",
        "example",
        "--add-host",
        "up:host-gateway",
        "--add-host",
        "fix=192.0.2.7",
        "--add-host",
        "six:[2001:db8::7]",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "a.example",
        "--dns-search",
        "b.example",
        "--dns-option",
        "ndots:2",
    ];
    let script = "cat /etc/hosts; echo --; cat /etc/resolv.conf; echo --; hostname";
    let output = env.run(&options, &["sh", "-c", script]).ok().stdout;
    let parts: Vec<&str> = output.split("--\n").collect();
    for line in [
        "127.0.0.1 localhost",
        "10.9.0.5 one.example one",
        "10.9.0.9 up",
        "192.0.2.7 fix",
        "2001:db8::7 six",
    ] {
        assert!(parts[0].lines().any(|it| it == line), "{line}: {output}");
    }
    assert_eq!(
        parts[1],
        "nameserver 10.9.0.9\nsearch a.example b.example\noptions ndots:2\n"
    );
    assert_eq!(parts[2], "one\n");
}

/// A network that comes is told of, one that goes no more, and what the workload wrote
/// itself stays.
fn hosts_and_resolvers_follow_the_networks(env: &Env) {
    for (name, number) in [("lan", 1), ("late", 2)] {
        create(env, name, &["--subnet", &format!("10.9.{number}.0/24")]);
    }
    let options = [
        "--network=lan",
        "--ip=10.9.1.5",
        "--add-host=up:host-gateway",
    ];
    env.detached("aa", &options, &["sleep", "1000"]);
    let files = || {
        let read = |path| env.exec("aa", &["cat", path]).ok().stdout;
        let (hosts, servers) = (read("/etc/hosts"), read("/etc/resolv.conf"));
        let lines = hosts.lines().filter(|line| line.starts_with("10."));
        let own: Vec<_> = lines.filter_map(|line| line.split(' ').next()).collect();
        let servers = servers
            .lines()
            .filter(|line| line.starts_with("nameserver"));
        (own.join(" "), servers.collect::<Vec<_>>().join(" "))
    };
    let is = |own: &str, servers: &[&str]| {
        let servers: Vec<_> = servers
            .iter()
            .map(|it| format!("nameserver {it}"))
            .collect();
        assert_eq!(files(), (own.to_owned(), servers.join(" ")));
    };
    let network = |words: &[&str]| env.isola([&["network"], words].concat()).ok();
    is("10.9.1.5 10.9.1.1", &["10.9.1.1"]);
    network(&["connect", "--ip=10.9.2.5", "late", "aa"]);
    is("10.9.1.5 10.9.2.5 10.9.1.1", &["10.9.1.1", "10.9.2.1"]);
    network(&["disconnect", "lan", "aa"]);
    is("10.9.2.5 10.9.2.1", &["10.9.2.1"]);
    network(&["disconnect", "late", "aa"]);
    is("", &[]);
    network(&["connect", "--ip=10.9.1.6", "lan", "aa"]);
    is("10.9.1.6 10.9.1.1", &["10.9.1.1"]);
    let script = "echo nameserver 192.0.2.1 > /etc/resolv.conf";
    env.exec("aa", &["sh", "-c", script]).ok();
    network(&["connect", "--ip=10.9.2.6", "late", "aa"]);
    is("10.9.1.6 10.9.2.6 10.9.1.1", &["192.0.2.1"]);
}

const UPSTREAM: &[(&str, &str)] = &[
    ("far.example", "203.0.113.9"),
    ("far.example", "2001:db8:1::9"),
    ("lan-only.search.example", "203.0.113.10"),
];
const OTHER: &[(&str, &str)] = &[("far.example", "203.0.113.99")];

/// A server of names on the host.
fn upstream(env: &Env, address: &str, names: &'static [(&'static str, &'static str)]) {
    let socket = env.host().inside(|| UdpSocket::bind((address, 53)));
    wire::serve_dns(socket.unwrap(), names);
}

fn other_names_are_asked_of_the_hosts_resolvers(env: &Env) {
    upstream(env, "127.0.0.53", UPSTREAM);
    upstream(env, "127.0.0.54", OTHER);
    let file = env.files().join("resolv.conf");
    std::fs::write(&file, "nameserver 127.0.0.53\nsearch search.example\n").unwrap();
    env.host().set_resolvers(&file);
    let script = "probe dns far.example; probe dns far.example AAAA; probe dns nosuch.example;
        grep search /etc/resolv.conf; nslookup lan-only >/dev/null && echo found";
    let output = env.run(&[], &["sh", "-c", script]).ok().stdout;
    assert_eq!(
        output,
        "NoError 203.0.113.9\nNoError 2001:db8:1::9\nNXDomain\nsearch search.example\nfound\n"
    );
    if !env.wall().is_guest() {
        let words = ["probe", "dns", "far.example"];
        let other = env.run(&["--dns", "127.0.0.54"], &words).ok().stdout;
        assert_eq!(other, "NoError 203.0.113.99\n");
        create(env, "closed", &["--internal"]);
        let closed = env.run(&["--network", "closed"], &words).ok().stdout;
        assert!(!closed.starts_with("NoError"), "{closed}");
    }
}

fn several_addresses_of_one_name(env: &Env) {
    create(env, "lan", &["--subnet", "10.9.0.0/24"]);
    for (name, ip) in [("aa", "10.9.0.5"), ("bb", "10.9.0.6")] {
        let options = ["--network", "lan", "--ip", ip, "--network-alias", "web"];
        env.detached(name, &options, &["sleep", "1000"]);
    }
    assert_eq!(dns(env, "aa", &["web"]), "NoError 10.9.0.5 10.9.0.6");
    env.isola(["stop", "-t", "0", "bb"]).ok();
    assert_eq!(dns(env, "aa", &["web"]), "NoError 10.9.0.5");
}

fn the_host_is_found_and_reached(env: &Env) {
    let listener = env.host().inside(|| TcpListener::bind("0.0.0.0:9000"));
    wire::serve_tcp(listener.unwrap());
    let script = "probe ask tcp $(sed -n 's/ up$//p' /etc/hosts):9000";
    let options = ["--name", "aa", "--add-host", "up:host-gateway"];
    let seen = env.run(&options, &["sh", "-c", script]).ok().stdout;
    assert!(seen.starts_with("10."), "{seen}");
}

/// The name server of the one network that runs.
fn name_server(env: &Env) -> Option<i32> {
    let all = env.host().processes();
    let line = all.iter().find(|line| line.contains("isola-netd"))?;
    line.split(' ').nth(1)?.parse().ok()
}

fn a_killed_name_server_comes_back(env: &Env) {
    create(env, "lan", &["--ipv6"]);
    let options = ["--network", "lan", "-p", "[::1]:8080:80"];
    env.ready("aa", &options, &["probe", "serve", "tcp:80"]);
    env.detached("bb", &["--network", "lan"], &["sleep", "1000"]);
    let to = "[::1]:8080".parse().unwrap();
    for _ in 0..3 {
        let old = name_server(env).expect("a name server");
        let pid = rustix::process::Pid::from_raw(old).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        until("another one", || {
            name_server(env).is_some_and(|new| new != old)
        });
        until("names are found", || {
            dns_found(env, "bb", "aa") && dns_found(env, "aa", "bb")
        });
        let relayed = || {
            env.host()
                .inside(|| wire::ask_tcp(to, wire::SILENCE))
                .is_ok()
        };
        until("what it relays is reached", relayed);
    }
    let all = env.host().processes();
    let count = all
        .iter()
        .filter(|line| line.contains("isola-netd"))
        .count();
    assert_eq!(count, 1, "{all:?}");
}

fn dns_found(env: &Env, from: &str, name: &str) -> bool {
    let output = env.exec(from, &["probe", "dns", name]);
    output.stdout.starts_with("NoError 1")
}

fn name_servers_come_and_go_with_members(env: &Env) {
    assert!(name_server(env).is_none());
    create(env, "lan", &[]);
    assert!(name_server(env).is_none(), "a network alone needs none");
    env.detached("aa", &["--network", "lan"], &["sleep", "1000"]);
    let first = name_server(env).expect("a name server");
    let groups = std::fs::read_to_string(format!("/proc/{first}/cgroup")).unwrap();
    assert!(!groups.contains(":/isola/"), "in no instance's: {groups}");
    env.isola(["pause", "aa"]).ok();
    env.detached("bb", &["--network", "lan"], &["sleep", "1000"]);
    assert!(
        dns_found(env, "bb", "aa"),
        "it is not paused with an instance"
    );
    env.isola(["unpause", "aa"]).ok();
    env.isola(["rm", "-f", "aa"]).ok();
    assert_eq!(name_server(env), Some(first), "it stays for the other");
    env.isola(["rm", "-f", "bb"]).ok();
    until("it is gone", || name_server(env).is_none());
    until("nothing is left", || env.host().left().is_empty());
}

fn a_network_in_use_stays(env: &Env) {
    create(env, "lan", &[]);
    env.detached("aa", &["--network", "lan"], &["sleep", "1000"]);
    env.isola(["network", "rm", "lan"]).fails(1, "used by aa");
    env.isola(["network", "prune", "-f"]).ok();
    env.isola(["stop", "-t", "0", "aa"]).ok();
    env.isola(["network", "rm", "lan"]).fails(1, "used by aa");
    env.isola(["network", "prune", "-f"]).ok();
    env.isola(["start", "aa"]).ok();
    env.isola(["network", "disconnect", "lan", "aa"]).ok();
    env.isola(["network", "rm", "lan"]).ok();
    env.isola(["network", "rm", "lan"]).fails(1, "lan");
    env.exec("aa", &["true"]).ok();
}

fn small_networks_run_out_of_addresses(env: &Env) {
    let options = ["--subnet", "10.9.0.0/29", "--ip-range", "10.9.0.4/30"];
    create(env, "lan", &options);
    for (name, expected) in [("aa", "10.9.0.4"), ("bb", "10.9.0.5"), ("cc", "10.9.0.6")] {
        env.detached(name, &["--network", "lan"], &["sleep", "1000"]);
        assert_eq!(address(env, name, "lan"), expected);
    }
    env.run(&["--network", "lan"], &["true"])
        .fails(125, "no free address");
    // Outside of the range on demand only.
    env.run(&["--network", "lan", "--ip", "10.9.0.2"], &["true"])
        .ok();
    env.isola(["rm", "-f", "bb"]).ok();
    env.detached("dd", &["--network", "lan"], &["sleep", "1000"]);
    assert_eq!(address(env, "dd", "lan"), "10.9.0.5");
}

fn a_hundred_at_once_on_a_small_network(env: &Env) {
    create(env, "lan", &["--subnet", "10.9.0.0/28"]);
    let start = |number: usize| {
        let name = format!("n{number}");
        let words = ["run", "-d", "--rm", "--network=lan", "--name", &name, "box"];
        let mut command = env.command([&words[..], &["sleep", "1000"]].concat());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..100).map(start).collect();
    let mut started = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => started += 1,
            Some(125) => {
                let count = errors.lines().filter(|it| it.starts_with("error:")).count();
                assert!(count == 1 && errors.contains("no free address"), "{errors}");
            }
            other => panic!("{other:?}: {errors}"),
        }
    }
    assert_eq!(started, 13, "of 14 addresses one is the gateway's");
    let all = env.json(&["network", "inspect", "lan"]);
    let members = all[0]["Containers"].as_object().unwrap();
    let addresses: std::collections::BTreeSet<_> = members
        .values()
        .map(|member| member["IPv4Address"].as_str().unwrap())
        .collect();
    assert_eq!((members.len(), addresses.len()), (13, 13));
    let left = env.isola(["ps", "-aq"]).ok().stdout;
    assert_eq!(left.lines().count(), 13, "what failed is gone");
}

fn tables_of_others_stay(env: &Env) {
    env.host().add_table("isola_other");
    env.host().keep();
    env.detached("aa", &["-p", "8080:80"], &["sleep", "1000"]);
    let doctor = || env.isola(["doctor"]).stdout;
    assert!(doctor().contains("other firewalls: forward"));
    let mut tables = env.host().tables();
    tables.sort();
    assert_eq!(tables, ["isola", "isola_other"]);
    env.isola(["rm", "-f", "aa"]).ok();
    until("our own is gone", || env.host().tables() == ["isola_other"]);
}

fn forwarding_only_where_it_is_needed(env: &Env) {
    let path = "/proc/sys/net/ipv4/ip_forward";
    env.host().inside(|| std::fs::write(path, "0")).unwrap();
    let forwards = || {
        let text = env.host().inside(|| std::fs::read_to_string(path));
        text.unwrap().trim() == "1"
    };
    env.run(&["--network", "none"], &["true"]).ok();
    create(env, "closed", &["--internal"]);
    env.run(&["--network", "closed"], &["true"]).ok();
    assert!(!forwards(), "nothing needs it");
    let said = env.run(&[], &["true"]).ok().stderr;
    assert!(forwards());
    assert!(said.contains("ip_forward"), "it is said: {said:?}");
    let again = env.run(&[], &["true"]).ok().stderr;
    assert!(!again.contains("ip_forward"), "{again}");
}

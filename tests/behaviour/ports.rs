//! Published ports: what reaches an instance by the host, from where, and as whom.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use isola_tests::wire::{PATIENCE, SILENCE, ask_tcp, ask_udp};
use isola_tests::{Env, HOST, HOST6, NEIGHBOUR, NEIGHBOUR6, Wall, behaviours, layer_with};

use crate::networks::{address, ask, create, place};

behaviours![
    Every published_ports_are_reached_from_everywhere,
    Every published_ports_of_both_families,
    Every relayed_where_the_kernel_can_not_translate,
    Container ranges_and_choices,
    Container a_port_of_one_address_is_of_no_other,
    Every exposed_ports_are_published_at_once,
    Every a_port_in_use_is_an_error_before_anything_starts,
    Once malformed_ports_are_refused,
    Container ports_without_a_way_are_refused,
    Container ports_end_with_their_instance,
];

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

/// From the host itself.
fn here(env: &Env, address: &str, port: u16) -> Result<String, String> {
    env.host().inside(|| ask_tcp(at(address, port), PATIENCE))
}

/// From the neighbour on the wire.
fn there(env: &Env, address: &str, port: u16) -> Result<String, String> {
    env.host().outside(|| ask_tcp(at(address, port), PATIENCE))
}

fn silent_here(env: &Env, address: &str, port: u16) -> bool {
    let asked = env.host().inside(|| ask_tcp(at(address, port), SILENCE));
    asked.is_err()
}

fn silent_there(env: &Env, address: &str, port: u16) -> bool {
    let asked = env.host().outside(|| ask_tcp(at(address, port), SILENCE));
    asked.is_err()
}

const SERVE: &[&str] = &["probe", "serve", "tcp:80", "udp:53"];

fn published_ports_are_reached_from_everywhere(env: &Env) {
    env.host().with_neighbour();
    create(env, "lan", &[]);
    let options = ["--network=lan", "-p", "8080:80", "-p", "8053:53/udp"];
    env.ready("aa", &options, SERVE);
    let options = ["--isolation=container", "--network=lan"];
    env.detached("bb", &options, &["sleep", "1000"]);
    let gateway = place(env, "aa", "lan", "Gateway");
    // The source is kept where the answer comes back by itself.
    assert_eq!(there(env, HOST, 8080).as_deref(), Ok(NEIGHBOUR));
    assert_eq!(here(env, HOST, 8080).as_deref(), Ok(HOST));
    assert_eq!(here(env, "127.0.0.1", 8080), Ok(gateway.clone()));
    // IPv6 to an instance that has none of it.
    assert!(here(env, "::1", 8080).is_ok());
    assert!(here(env, HOST6, 8080).is_ok());
    assert!(there(env, HOST6, 8080).is_ok());
    // A neighbour on the bridge, by the host's address, and itself.
    for name in ["bb", "aa"] {
        let seen = ask(env, name, "tcp", &format!("{HOST}:8080"));
        assert_eq!(seen, gateway, "{name}");
    }
    let udp = at(HOST, 8053);
    let seen = env.host().outside(|| ask_udp(udp, PATIENCE));
    assert_eq!(seen.as_deref(), Ok(NEIGHBOUR));
    for address in ["127.0.0.1", "::1", HOST] {
        let seen = env.host().inside(|| ask_udp(at(address, 8053), PATIENCE));
        assert!(seen.is_ok(), "{address}: {seen:?}");
    }
    assert_eq!(ask(env, "bb", "udp", &format!("{HOST}:8053")), gateway);
    let ports = env.isola(["port", "aa"]).ok().stdout;
    assert_eq!(
        ports,
        "53/udp -> 0.0.0.0:8053\n53/udp -> [::]:8053\n80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"
    );
    let one = env.isola(["port", "aa", "80"]).ok().stdout;
    assert_eq!(one, "0.0.0.0:8080\n[::]:8080\n");
    env.isola(["port", "aa", "81"]).fails(1, "81");
    let row = env.isola(["ps", "--format", "{{.Ports}}", "--filter", "name=aa"]);
    assert!(row.ok().stdout.contains("0.0.0.0:8080->80/tcp"));
}

fn published_ports_of_both_families(env: &Env) {
    env.host().with_neighbour();
    create(env, "lan", &["--ipv6"]);
    let options = ["--network=lan", "-p", "8080:80", "-p", "8053:53/udp"];
    env.ready("aa", &options, SERVE);
    assert_eq!(there(env, HOST, 8080).as_deref(), Ok(NEIGHBOUR));
    assert_eq!(there(env, HOST6, 8080).as_deref(), Ok(NEIGHBOUR6));
    assert_eq!(here(env, HOST6, 8080).as_deref(), Ok(HOST6));
    assert!(here(env, "::1", 8080).is_ok());
    let udp = at(HOST6, 8053);
    let seen = env.host().outside(|| ask_udp(udp, PATIENCE));
    assert_eq!(seen.as_deref(), Ok(NEIGHBOUR6));
}

fn relayed_where_the_kernel_can_not_translate(env: &Env) {
    let options = ["-p", "[::1]:8080:80", "-p", "[::1]:8090:90"];
    env.ready("aa", &options, &["probe", "serve", "tcp:80", "sum:90"]);
    assert!(here(env, "::1", 8080).is_ok());
    assert!(silent_here(env, "127.0.0.1", 8080));
    // Much, both of it whole.
    let to = at("::1", 8090);
    let count = match env.wall() {
        Wall::Emulated => 3_000_001,
        _ => 20_000_001,
    };
    let sent = env
        .host()
        .inside(|| isola_tests::wire::send_bytes(to, count));
    assert_eq!(sent, Ok(()));
}

fn ranges_and_choices(env: &Env) {
    let options = [
        "-p",
        "7000-7001:80-81",
        "-p",
        "7010-7012:82",
        "-p",
        "83",
        "-p",
        "127.0.0.1::84/tcp",
        "-p",
        "7020-7021:85-86/udp",
    ];
    // The first of a choice is taken.
    let taken = env.host().inside(|| TcpListener::bind("0.0.0.0:7010"));
    let ports = [
        "tcp:80", "tcp:81", "tcp:82", "tcp:83", "tcp:84", "udp:85", "udp:86",
    ];
    env.ready("aa", &options, &[&["probe", "serve"][..], &ports].concat());
    let port = |inner: &str| -> u16 {
        let text = env.isola(["port", "aa", inner]).ok().stdout;
        let first = text.lines().next().unwrap();
        first.rsplit(':').next().unwrap().parse().unwrap()
    };
    for (inner, outer) in [("80", 7000), ("81", 7001), ("82", 7011)] {
        assert_eq!(port(inner), outer, "{inner}");
    }
    for inner in ["80", "81", "82", "83", "84"] {
        assert!(here(env, "127.0.0.1", port(inner)).is_ok(), "{inner}");
    }
    for outer in [7020, 7021] {
        let seen = env
            .host()
            .inside(|| ask_udp(at("127.0.0.1", outer), PATIENCE));
        assert!(seen.is_ok(), "{outer}: {seen:?}");
    }
    assert!(port("83") > 1023);
    drop(taken);
}

fn a_port_of_one_address_is_of_no_other(env: &Env) {
    env.host().with_neighbour();
    let options = ["-p", "127.0.0.1:8080:80", "-p", "192.0.2.1:8081:80"];
    env.ready("aa", &options, SERVE);
    let options = ["-p", "0.0.0.0:8082:80", "-p", "[2001:db8::1]:8080:80"];
    env.ready("bb", &options, SERVE);
    assert!(here(env, "127.0.0.1", 8080).is_ok());
    assert!(silent_there(env, HOST, 8080));
    assert!(silent_here(env, HOST, 8080));
    assert!(there(env, HOST, 8081).is_ok());
    assert!(silent_here(env, "127.0.0.1", 8081));
    assert!(there(env, HOST, 8082).is_ok());
    assert!(silent_here(env, "::1", 8082));
    assert!(there(env, HOST6, 8080).is_ok());
    assert!(silent_here(env, "::1", 8080));
    env.run(&["-p", "198.51.100.1:80:80"], &["true"])
        .fails(125, "198.51.100.1");
}

fn exposed_ports_are_published_at_once(env: &Env) {
    let layer = layer_with(&[]);
    let change = ["--change", "EXPOSE 80 53/udp", "--change", "ENV PATH=/bin"];
    env.isola_with([&["import"], &change[..], &["-", "open"]].concat(), &layer)
        .ok();
    let words = [
        "run",
        "-d",
        "--name=aa",
        "-P",
        "--expose=90-91",
        "-p",
        "7090:90",
        "open",
    ];
    env.isola([&words[..], &["sleep", "1000"]].concat()).ok();
    let ports = env.isola(["port", "aa"]).ok().stdout;
    for inner in [
        "80/tcp -> ",
        "53/udp -> ",
        "91/tcp -> ",
        "90/tcp -> 0.0.0.0:7090",
    ] {
        assert!(ports.contains(inner), "{inner}: {ports}");
    }
    assert_eq!(ports.matches("90/tcp ->").count(), 2, "{ports}");
    let all = env.json(&["inspect", "aa"]);
    let ports = all[0]["NetworkSettings"]["Ports"].as_object().unwrap();
    assert_eq!(ports.len(), 4, "{ports:?}");
}

fn a_port_in_use_is_an_error_before_anything_starts(env: &Env) {
    let tcp = env.host().inside(|| TcpListener::bind("127.0.0.1:8080"));
    let udp = env.host().inside(|| UdpSocket::bind("0.0.0.0:8053"));
    let marker = env.files();
    let mount = format!("{}:/host", marker.display());
    for port in [
        "8080:80",
        "127.0.0.1:8080:80",
        "8053:53/udp",
        "8078-8081:70-73",
    ] {
        let words = ["touch", "/host/ran"];
        let options = ["-v", &mount, "-p", "9090:90", "-p", port];
        env.run(&options, &words).fails(125, "in use");
        assert!(!marker.join("ran").exists(), "{port}: it has run");
    }
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
    drop((tcp, udp));
    env.detached("aa", &["-p", "8080:80"], &["sleep", "1000"]);
    env.run(&["-p", "8080:81"], &["true"]).fails(125, "in use");
    env.run(&["-p", "8080:80/udp"], &["true"]).ok();
}

fn malformed_ports_are_refused(env: &Env) {
    for port in [
        "",
        ":",
        "x",
        "80:",
        ":80:",
        "0:0",
        "8080:0",
        "65536:80",
        "80:65536",
        "8080:80/icmp",
        "8080:80/",
        "8080:80:90",
        "1.2.3:8080:80",
        "300.1.1.1:80:80",
        "::1:80:80",
        "[::1:80:80",
        "[::g]:80:80",
        "80-:80",
        "81-80:90-91",
        "8000-8002:80-81",
        "8000-8001:80-82",
        "-80:80",
        "8080:80 ",
    ] {
        let flag = format!("--publish={port}");
        let output = env.run(&[&flag], &["true"]).exits(125);
        let line = output.stderr.lines().next().unwrap_or_default();
        assert!(line.starts_with("error:"), "{port:?}: {output:?}");
    }
    env.run(&["-p", "80:80", "-p", "80:81"], &["true"])
        .fails(125, "80");
    for port in ["x", "0", "80/icmp", "90-80"] {
        let flag = format!("--expose={port}");
        env.run(&[&flag], &["true"]).fails(125, port);
    }
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
    env.isola(["port", "nosuch"]).fails(1, "nosuch");
}

fn ports_without_a_way_are_refused(env: &Env) {
    create(env, "closed", &["--internal"]);
    for (network, words) in [("none", "none"), ("closed", "internal")] {
        let network = format!("--network={network}");
        env.run(&[&network, "-p", "80:80"], &["true"])
            .fails(125, words);
    }
    env.detached("aa", &[], &["sleep", "1000"]);
    env.run(&["--network=container:aa", "-p", "80:80"], &["true"])
        .fails(125, "container:aa");
    // The host's ports are its own.
    env.run(&["--network=host", "-p", "80:80"], &["true"]).ok();
    assert_eq!(env.isola(["port", "aa"]).ok().stdout, "");
}

fn ports_end_with_their_instance(env: &Env) {
    env.ready("aa", &["-p", "8080:80"], SERVE);
    env.ready("bb", &["-p", "8081:80"], SERVE);
    assert!(here(env, "127.0.0.1", 8080).is_ok());
    env.isola(["kill", "aa"]).ok();
    env.isola(["wait", "aa"]).ok();
    assert!(silent_here(env, "127.0.0.1", 8080));
    assert!(silent_here(env, "::1", 8080));
    assert!(here(env, "127.0.0.1", 8081).is_ok());
    // Another one gets port and address, and what belonged to the first is gone.
    env.ready("cc", &["-p", "8080:80"], SERVE);
    assert!(here(env, "127.0.0.1", 8080).is_ok());
    let host = env.host();
    host.with_neighbour();
    let own = address(env, "cc", "default");
    let direct = host.outside(|| ask_tcp(at(&own, 80), SILENCE));
    assert!(direct.is_err(), "no way in but the published one");
}

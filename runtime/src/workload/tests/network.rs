//! Networks, names and ports.

use std::net::IpAddr;

use super::*;

fn link(network: &str) -> Attachment {
    Attachment {
        network: network.to_owned(),
        ..Attachment::default()
    }
}

fn bridged(json: &str) -> Vec<Attachment> {
    match container(&options(json))
        .unwrap_or_else(|error| panic!("{json}: {error}"))
        .network
    {
        Network::Bridged(links) => links,
        other => panic!("{json}: {other:?}"),
    }
}

#[test]
fn networks_by_name() {
    let mac = |text: &str| text.parse().ok();
    let table: &[(&str, &[Attachment])] = &[
        (r#"{}"#, &[link("default")]),
        (r#"{"network":["bridge"]}"#, &[link("default")]),
        (
            r#"{"network":["lan","dmz.2"]}"#,
            &[link("lan"), link("dmz.2")],
        ),
        (
            r#"{"network":["name=lan,alias=a,ALIAS=b,alias=a,ip=10.0.0.5","dmz"]}"#,
            &[
                Attachment {
                    aliases: words(&["a", "b"]),
                    ip: "10.0.0.5".parse().ok(),
                    ..link("lan")
                },
                link("dmz"),
            ],
        ),
        (
            r#"{"network":["ip6=fd00::5,mac-address=02-42-AC-11-00-02,name=bridge"]}"#,
            &[Attachment {
                ip6: "fd00::5".parse().ok(),
                mac: mac("02:42:ac:11:00:02"),
                ..link("default")
            }],
        ),
        (
            r#"{"network":["lan","dmz"],"network-alias":["db","db.lan"],"ip":"10.0.0.6","ip6":"fd00::6","mac-address":"02:42:ac:11:00:03"}"#,
            &[
                Attachment {
                    aliases: words(&["db", "db.lan"]),
                    ip: "10.0.0.6".parse().ok(),
                    ip6: "fd00::6".parse().ok(),
                    mac: mac("02:42:ac:11:00:03"),
                    ..link("lan")
                },
                link("dmz"),
            ],
        ),
        (
            r#"{"ip":"172.20.0.9"}"#,
            &[Attachment {
                ip: "172.20.0.9".parse().ok(),
                ..link("default")
            }],
        ),
    ];
    for (json, wanted) in table {
        assert_eq!(bridged(json), *wanted, "{json}");
    }
    for isolation in [Isolation::Vm, Isolation::Emulated] {
        let workload = behind(isolation, &options(r#"{"network":["lan"]}"#)).unwrap();
        assert_eq!(workload.network, Network::Bridged(vec![link("lan")]));
    }
}

#[test]
fn other_ways_to_be_attached() {
    let network = |json: &str| container(&options(json)).unwrap().network;
    assert_eq!(network(r#"{"network":["none"]}"#), Network::None);
    assert_eq!(network(r#"{"network":["host"]}"#), Network::Host);
    assert_eq!(
        network(r#"{"network":["container:web"]}"#),
        Network::Instance("web".to_owned())
    );
    refused(&[
        (
            r#"{"network":["host","lan"]}"#,
            Kind::Conflict,
            "--network host can't be had together",
        ),
        (
            r#"{"network":["lan","none"]}"#,
            Kind::Conflict,
            "--network none can't be had together",
        ),
        (
            r#"{"network":["container:a","container:b"]}"#,
            Kind::Conflict,
            "--network container:a can't",
        ),
        (
            r#"{"network":["container:"]}"#,
            Kind::Invalid,
            "name is empty",
        ),
        (
            r#"{"network":["container:../x"]}"#,
            Kind::Invalid,
            "not a name",
        ),
        (
            r#"{"network":["none"],"ip":"10.0.0.1"}"#,
            Kind::Conflict,
            "--ip can't be had with --network none",
        ),
        (
            r#"{"network":["host"],"network-alias":["a"]}"#,
            Kind::Conflict,
            "--network-alias can't be had with --network host",
        ),
        (
            r#"{"network":["container:a"],"mac-address":"02:42:ac:11:00:02"}"#,
            Kind::Conflict,
            "--mac-address can't",
        ),
        (
            r#"{"network":["container:a"],"sysctl":["net.ipv4.ip_forward=1"]}"#,
            Kind::Conflict,
            "--network container:a",
        ),
        (
            r#"{"network":["container:a"],"userns":"auto"}"#,
            Kind::Conflict,
            "--network container:a",
        ),
    ]);
    for (flag, value) in [
        ("hostname", r#""h""#),
        ("dns", r#"["10.0.0.1"]"#),
        ("dns-search", r#"["lan"]"#),
        ("dns-option", r#"["ndots:1"]"#),
        ("add-host", r#"["a:10.0.0.1"]"#),
        ("publish", r#"["80"]"#),
        ("publish-all", "true"),
        ("expose", r#"["80"]"#),
    ] {
        let json = format!(r#"{{"network":["container:web"],"{flag}":{value}}}"#);
        let part = format!("--{flag} can't be had with --network container:web");
        check(&json, container(&options(&json)), Kind::Conflict, &part);
    }
    for isolation in [Isolation::Vm, Isolation::Emulated] {
        for network in ["host", "container:web"] {
            let json = format!(r#"{{"network":["{network}"]}}"#);
            let part =
                format!("--network {network} can't be had with isolation {isolation}: a guest has");
            check(
                &json,
                behind(isolation, &options(&json)),
                Kind::Unsupported,
                &part,
            );
        }
    }
}

#[test]
fn networks_that_make_no_sense_are_refused() {
    refused(&[
        (r#"{"network":[""]}"#, Kind::Invalid, "name is empty"),
        (r#"{"network":["../x"]}"#, Kind::Invalid, "not a name"),
        (
            r#"{"network":["lan","name=lan"]}"#,
            Kind::Conflict,
            "\"lan\" was named before",
        ),
        (
            r#"{"network":["default","bridge"]}"#,
            Kind::Conflict,
            "\"default\" was named before",
        ),
        (
            r#"{"network":["alias=a"]}"#,
            Kind::Invalid,
            "needs the field name",
        ),
        (
            r#"{"network":["name=host"]}"#,
            Kind::Invalid,
            "write --network host",
        ),
        (
            r#"{"network":["name=lan,ip"]}"#,
            Kind::Invalid,
            "\"ip\" needs a value",
        ),
        (
            r#"{"network":["name=lan,mtu=9"]}"#,
            Kind::Invalid,
            "no field \"mtu\"",
        ),
        (r#"{"network":["name=lan,\"ip=1"]}"#, Kind::Invalid, "quote"),
        (
            r#"{"network":["name=lan,driver-opt=a=b"]}"#,
            Kind::Unsupported,
            "driver-opt can't be had",
        ),
        (
            r#"{"network":["name=lan,gw-priority=1"]}"#,
            Kind::Unsupported,
            "gw-priority",
        ),
        (
            r#"{"network":["name=lan,alias=a b"]}"#,
            Kind::Invalid,
            "alias: \"a b\" is not a host name",
        ),
        (
            r#"{"network-alias":["-a"]}"#,
            Kind::Invalid,
            "--network-alias",
        ),
        (
            r#"{"network":["name=lan,ip=10.0.0.1"],"ip":"10.0.0.2"}"#,
            Kind::Conflict,
            "--ip and the field ip",
        ),
        (
            r#"{"network":["name=lan,alias=x"],"network-alias":["y"]}"#,
            Kind::Conflict,
            "--network-alias and the field alias",
        ),
        (
            r#"{"network":["name=a,ip=10.0.0.1","name=b,ip=10.0.0.1"]}"#,
            Kind::Conflict,
            "10.0.0.1 is asked for on a and on b",
        ),
        (
            r#"{"network":["name=a,mac-address=02:00:00:00:00:01","name=b,mac-address=02:00:00:00:00:01"]}"#,
            Kind::Conflict,
            "02:00:00:00:00:01",
        ),
    ]);
    for (flag, value, part) in [
        ("ip", "10.0.0", "not an IPv4 address"),
        ("ip", "010.0.0.1", "not an IPv4 address"),
        ("ip", "10.0.0.1/24", "not an IPv4 address"),
        ("ip", "fd00::1", "not an IPv4 address"),
        ("ip", "0.0.0.0", "no instance"),
        ("ip", "0.1.2.3", "no instance"),
        ("ip", "255.255.255.255", "no instance"),
        ("ip", "127.0.0.5", "loopback"),
        ("ip", "224.0.0.1", "multicast"),
        ("ip6", "10.0.0.1", "not an IPv6 address"),
        ("ip6", "fe80::1%eth0", "not an IPv6 address"),
        ("ip6", "::", "unspecified"),
        ("ip6", "::1", "loopback"),
        ("ip6", "ff02::1", "multicast"),
        ("ip6", "::ffff:10.0.0.1", "in the form of"),
        ("mac-address", "02:42", "not an Ethernet address"),
        ("mac-address", "01:00:5e:00:00:01", "not of a group"),
        ("mac-address", "ff:ff:ff:ff:ff:ff", "not of a group"),
        ("mac-address", "00:00:00:00:00:00", "not of a group"),
    ] {
        let json = format!(r#"{{"{flag}":"{value}"}}"#);
        check(&json, container(&options(&json)), Kind::Invalid, part);
        let json = format!(r#"{{"network":["name=lan,{flag}={value}"]}}"#);
        check(&json, container(&options(&json)), Kind::Invalid, part);
    }
}

#[test]
fn servers_and_names() {
    let dns = |json: &str| container(&options(json)).unwrap().dns;
    assert_eq!(dns("{}"), Dns::default());
    let all = dns(
        r#"{"dns":["10.0.0.1","fd00::1"],"dns-search":["a.example","b."],"dns-option":["ndots:2","rotate"]}"#,
    );
    let servers = ["10.0.0.1", "fd00::1"].map(|text| text.parse::<IpAddr>().unwrap());
    assert_eq!(all.servers, servers);
    assert_eq!(all.search, Some(words(&["a.example", "b"])));
    assert_eq!(all.options, ["ndots:2", "rotate"]);
    assert_eq!(dns(r#"{"dns-search":["."]}"#).search, Some(vec![]));
    let hosts = |network: &str| {
        let json = format!(r#"{{"add-host":["up:host-gateway"],"network":["{network}"]}}"#);
        container(&options(&json)).unwrap().extra_hosts[0].1.clone()
    };
    assert_eq!(hosts("lan"), HOST_GATEWAY);
    assert_eq!(hosts("host"), "127.0.0.1");
    refused(&[
        (r#"{"dns":["one"]}"#, Kind::Invalid, "not an IP address"),
        (r#"{"dns":["0.0.0.0"]}"#, Kind::Invalid, "no server"),
        (r#"{"dns":["224.0.0.1"]}"#, Kind::Invalid, "no server"),
        (
            r#"{"dns-search":["a",". "]}"#,
            Kind::Invalid,
            "not a domain",
        ),
        (
            r#"{"dns-search":["a","."]}"#,
            Kind::Invalid,
            "beside others",
        ),
        (r#"{"dns-search":["a b"]}"#, Kind::Invalid, "not a domain"),
        (r#"{"dns-option":["a\nb"]}"#, Kind::Invalid, "--dns-option"),
        (
            r#"{"add-host":["up:host-gateway"],"network":["none"]}"#,
            Kind::Conflict,
            "no way to the host",
        ),
        (
            r#"{"add-host":["u p:host-gateway"]}"#,
            Kind::Invalid,
            "not a host name",
        ),
    ]);
}

fn resolved(json: &str, exposed: &[&str]) -> Result<Workload> {
    let image = ImageFacts {
        exposed_ports: words(exposed),
        ..image()
    };
    let wall = WallCapabilities::of(Isolation::Vm);
    resolve(&options(json), &image, &wall, &host(), ID)
}

#[test]
fn ports_are_published_and_named() {
    let show = |json: &str, exposed: &[&str]| {
        let workload = resolved(json, exposed).unwrap_or_else(|error| panic!("{json}: {error}"));
        let published = workload.ports.iter().map(|spec| {
            let host = spec
                .host
                .as_ref()
                .map_or(String::new(), |ports| format!("{}:", ports.start()));
            format!("{host}{}/{}", spec.container, spec.protocol)
        });
        (published.collect::<Vec<_>>(), workload.exposed_ports)
    };
    let (none, image) = (Vec::<String>::new(), ["443/tcp", "80/tcp"]);
    assert_eq!(show("{}", &[]), (none.clone(), vec![]));
    let (published, exposed) = show(r#"{"expose":["53/udp","80"]}"#, &image);
    assert_eq!(
        (published, exposed),
        (none, words(&["53/udp", "80/tcp", "443/tcp"]))
    );
    let (published, exposed) = show(
        r#"{"publish":["8080:80","8080:80/udp"],"expose":["9-10"]}"#,
        &image,
    );
    assert_eq!(published, ["8080:80/tcp", "8080:80/udp"]);
    assert_eq!(exposed, ["9/tcp", "10/tcp", "443/tcp"]);
    let (published, exposed) = show(
        r#"{"publish":["8080:80","8080:80"],"publish-all":true}"#,
        &image,
    );
    assert_eq!(published, ["8080:80/tcp", "443/tcp"]);
    assert_eq!(exposed, Vec::<String>::new());
    // The host's ports are its own.
    let host = container(&options(
        r#"{"network":["host"],"publish":["80"],"publish-all":true}"#,
    ));
    assert_eq!(host.unwrap().ports, []);
    refused(&[
        (
            r#"{"network":["none"],"publish":["80"]}"#,
            Kind::Conflict,
            "--publish can't be had with --network none",
        ),
        (
            r#"{"network":["none"],"publish-all":true}"#,
            Kind::Conflict,
            "--publish-all can't",
        ),
        (
            r#"{"publish":["x"]}"#,
            Kind::Invalid,
            "cannot publish \"x\": ",
        ),
        (
            r#"{"publish":["8080-8081:80-82"]}"#,
            Kind::Invalid,
            "2 host ports for 3 ports",
        ),
        (
            r#"{"publish":["8080:80","8080:81"]}"#,
            Kind::Conflict,
            "8080/tcp of the host is to lead to 80 and to 81",
        ),
        (
            r#"{"publish":["127.0.0.1:8080:80","0.0.0.0:8080:81"]}"#,
            Kind::Conflict,
            "8080/tcp",
        ),
        (r#"{"expose":["0"]}"#, Kind::Invalid, "--expose"),
        (r#"{"expose":["+80"]}"#, Kind::Invalid, "--expose"),
        (r#"{"expose":["90-80"]}"#, Kind::Invalid, "ends before"),
        (r#"{"expose":["80/icmp"]}"#, Kind::Invalid, "no protocol"),
    ]);
    let sctp = resolved(r#"{"publish-all":true}"#, &["9/sctp"]);
    check("sctp", sctp, Kind::Unsupported, "9/sctp can't be published");
    let image = resolved("{}", &["http"]);
    check("EXPOSE", image, Kind::Invalid, "the image's EXPOSE");
    let apart =
        r#"{"publish":["127.0.0.1:8080:80","127.0.0.2:8080:81","8080:80/udp","8080-8090:82"]}"#;
    assert_eq!(container(&options(apart)).unwrap().ports.len(), 4);
}

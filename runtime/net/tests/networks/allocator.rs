//! Networks' records and their addresses.

use std::collections::BTreeSet;
use std::process::Command;

use isola_net::{Attachment, Kind, NetworkSpec, Networks};

use crate::world::*;

fn spec(name: &str, subnet: &str) -> NetworkSpec {
    NetworkSpec {
        name: name.to_owned(),
        subnets: vec![subnet.to_owned()],
        ..NetworkSpec::default()
    }
}

const NOBODY: fn(&isola_net::Network) -> Option<String> = |_| None;

#[test]
fn networks_are_made_found_and_removed() {
    on_a_host(|world| {
        let networks = &world.networks;
        let a = world.network("a", |spec| spec.ipv6 = true);
        assert_eq!(a.subnets.len(), 2);
        assert!(a.bridge.len() <= 15);
        assert!(a.v6().unwrap().subnet.to_string().starts_with("fd"));
        let default = networks.ensure_default().unwrap();
        assert_eq!(networks.ensure_default().unwrap(), default);
        assert_eq!(networks.find("a").unwrap(), a);
        assert_eq!(networks.find(&a.id).unwrap(), a);
        assert_eq!(networks.find(a.short_id()).unwrap(), a);
        assert_eq!(networks.find("nosuch").unwrap_err().kind, Kind::NoSuch);
        assert_eq!(networks.find("").unwrap_err().kind, Kind::NoSuch);
        let error = networks.create(&spec("a", "10.1.0.0/24")).unwrap_err();
        assert_eq!(error.message, "there is a network a already");
        assert_eq!(
            networks
                .create(&spec("../x", "10.1.0.0/24"))
                .unwrap_err()
                .kind,
            Kind::Invalid
        );

        let user = |_: &isola_net::Network| Some("web".to_owned());
        let error = networks.remove(&a, &user, &|_| true).unwrap_err();
        assert_eq!(error.message, "the network a is used by web");
        world.attach(&a, 1, &Attachment::default()).unwrap();
        let error = networks.remove(&a, &NOBODY, &|_| true).unwrap_err();
        assert_eq!(error.message, "the network a is used by i1");
        assert!(networks.prune(&NOBODY, &|_| true).unwrap().is_empty());
        // Its instance is dead.
        assert_eq!(networks.prune(&NOBODY, &|_| false).unwrap(), [a]);
        assert_eq!(networks.list().unwrap(), [default]);
        assert_eq!(links(), ["lo", "wire"]);
    });
}

#[test]
fn subnets_overlap_neither_networks_nor_routes_of_any_data_root() {
    on_a_host(|world| {
        let other_root = tempfile::tempdir().unwrap();
        let other = Networks::open(other_root.path()).unwrap();
        let first = world.network("a", |_| ());
        let second = other
            .create(&NetworkSpec {
                name: "a".to_owned(),
                ..NetworkSpec::default()
            })
            .unwrap();
        assert_ne!(first.v4(), second.v4(), "without a bridge, too");
        for (subnet, with) in [
            (
                "192.0.2.128/25".to_owned(),
                "the host's route to 192.0.2.0/24",
            ),
            (
                "192.0.0.0/16".to_owned(),
                "the host's route to 192.0.2.0/24",
            ),
            (first.v4().unwrap().subnet.to_string(), "the network a"),
            (
                "2001:db8::/48".to_owned(),
                "the host's route to 2001:db8::/64",
            ),
        ] {
            let error = other.create(&spec("b", &subnet)).unwrap_err();
            assert_eq!(error.kind, Kind::Conflict);
            assert!(
                error.message.ends_with(&format!("overlaps {with}")),
                "{error}"
            );
        }
        // A route that comes later: chosen subnets move, named ones are refused.
        let named = world
            .networks
            .create(&spec("named", "10.77.0.0/24"))
            .unwrap();
        let mut socket = isola_netlink::Socket::route().unwrap();
        let wire = socket.link("wire").unwrap().unwrap().index;
        for destination in [first.v4().unwrap().subnet, "10.77.0.0/16".parse().unwrap()] {
            let route = isola_netlink::Route {
                destination,
                gateway: None,
                index: Some(wire),
                table: 254,
            };
            socket.add_route(&route).unwrap();
        }
        let attached = world.attach(&first, 1, &Attachment::default()).unwrap();
        assert_ne!(attached.network.v4(), first.v4());
        assert_eq!(world.networks.find("a").unwrap(), attached.network);
        let error = world.attach(&named, 2, &Attachment::default()).unwrap_err();
        assert_eq!(
            error.message,
            "the subnet 10.77.0.0/24 of the network named overlaps the host's route to 10.77.0.0/16"
        );
        assert!(world.networks.leases(&named).unwrap().is_empty());
        assert!(!links().contains(&named.bridge));
    });
}

#[test]
fn addresses_are_given_once_and_given_back() {
    on_a_host(|world| {
        let network = world.networks.create(&spec("a", "10.77.0.0/29")).unwrap();
        let plain = Attachment::default();
        let ipv4 = |text: &str| Attachment {
            ipv4: Some(text.parse().unwrap()),
            ..Attachment::default()
        };
        let one = world.attach(&network, 1, &plain).unwrap();
        assert_eq!(one.lease.names, ["i1", "000000000000"]);
        assert_eq!(one.lease.ipv4, Some("10.77.0.2".parse().unwrap()));
        let notices: Vec<_> = one.notices.iter().map(ToString::to_string).collect();
        assert_eq!(
            notices,
            ["turned net.ipv4.ip_forward on: the host now routes between its networks"]
        );
        let two = world.attach(&network, 2, &plain).unwrap();
        assert!(two.notices.is_empty(), "said once");
        world.networks.release(&one.lease.instance).unwrap();
        let three = world.attach(&network, 3, &plain).unwrap();
        assert_eq!(
            three.lease.ipv4,
            Some("10.77.0.4".parse().unwrap()),
            "not the last freed"
        );
        // The same instance again keeps its address.
        assert_eq!(
            world.attach(&network, 3, &plain).unwrap().lease,
            three.lease
        );
        for (address, expected) in [
            (
                "10.77.0.3",
                "the address 10.77.0.3 is used by i2 (network a)",
            ),
            (
                "10.77.0.1",
                "the address 10.77.0.1 is the gateway's (network a)",
            ),
            (
                "10.77.0.0",
                "the address 10.77.0.0 is no address of an instance in 10.77.0.0/29 (network a)",
            ),
            (
                "10.77.0.7",
                "the address 10.77.0.7 is no address of an instance in 10.77.0.0/29 (network a)",
            ),
            (
                "10.78.0.2",
                "the address 10.78.0.2 is no address of an instance in 10.77.0.0/29 (network a)",
            ),
        ] {
            assert_eq!(
                world
                    .attach(&network, 9, &ipv4(address))
                    .unwrap_err()
                    .message,
                expected
            );
        }
        let v6 = Attachment {
            ipv6: Some("fd00::1".parse().unwrap()),
            ..Attachment::default()
        };
        assert_eq!(
            world.attach(&network, 9, &v6).unwrap_err().message,
            "the network a has no subnet for the address fd00::1"
        );
        let mac = Attachment {
            mac: Some(two.lease.mac),
            ..Attachment::default()
        };
        assert!(
            world
                .attach(&network, 9, &mac)
                .unwrap_err()
                .message
                .contains("is used by i2")
        );
        for number in 4..7 {
            world.attach(&network, number, &plain).unwrap();
        }
        let error = world.attach(&network, 9, &plain).unwrap_err();
        assert_eq!(
            error.message,
            "the network a has no free address left in 10.77.0.0/29"
        );
        // But for what the dead have; here it is i2.
        let dead = instance(2).id;
        let nine = world
            .networks
            .attach(&network, &instance(9), &plain, &|id| id != dead)
            .unwrap();
        assert_eq!(nine.lease.ipv4, two.lease.ipv4);
        world.networks.collect(&|_| false).unwrap();
        assert!(world.networks.leases(&network).unwrap().is_empty());
        assert_eq!(links(), ["lo", "wire"], "the bridge went with the last");
    });
}

#[test]
fn leases_of_an_earlier_boot_are_void() {
    on_a_host(|world| {
        let network = world.network("a", |_| ());
        world.attach(&network, 1, &Attachment::default()).unwrap();
        let folder = world.networks.folder(&network);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let path = folder.join(format!("leases.{}.json", boot.trim()));
        let old = folder.join("leases.another.json");
        std::fs::rename(&path, &old).unwrap();
        assert!(world.networks.leases(&network).unwrap().is_empty());
        // Half a file, as a host that dies leaves it.
        std::fs::write(&old, "{").unwrap();
        let again = world.attach(&network, 2, &Attachment::default()).unwrap();
        assert_eq!(world.networks.leases(&network).unwrap(), [again.lease]);
        assert!(path.exists() && !old.exists());
    });
}

const CHILD: &str = "ISOLA_NET_TEST_ROOT";

/// What a process of the next test does; nothing unless that test started it.
#[test]
fn attaches_as_a_child() {
    let Ok(root) = std::env::var(CHILD) else {
        return;
    };
    let (root, first) = root.split_once('=').unwrap();
    let first: u32 = first.parse().unwrap();
    let path = std::path::PathBuf::from(root);
    let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    let threads: Vec<_> = (first..first + 25)
        .map(|number| {
            let (path, namespace) = (path.clone(), namespace.try_clone().unwrap());
            std::thread::spawn(move || {
                let networks = Networks::open(&path).unwrap();
                let network = networks.find("a").unwrap();
                isola_netlink::in_namespace(std::os::fd::AsFd::as_fd(&namespace), || {
                    networks
                        .attach(&network, &instance(number), &Attachment::default(), &|_| {
                            true
                        })
                        .map(|attached| attached.lease.ipv4.unwrap().to_string())
                        .unwrap_or_else(|error| error.message)
                })
                .unwrap()
            })
        })
        .collect();
    for thread in threads {
        println!("RESULT {}", thread.join().unwrap());
    }
}

#[test]
fn a_hundred_at_once_share_a_small_network_fairly() {
    on_a_host(|world| {
        world.networks.create(&spec("a", "10.77.0.0/28")).unwrap();
        let children: Vec<_> = (0..4)
            .map(|number| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["allocator::attaches_as_a_child", "--exact", "--nocapture"])
                    .env(
                        CHILD,
                        format!("{}={}", world.root.path().display(), number * 25 + 1),
                    )
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut results = Vec::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let text = String::from_utf8(output.stdout).unwrap();
            results.extend(
                text.lines()
                    .filter_map(|line| Some(line.split_once("RESULT ")?.1.to_owned())),
            );
        }
        assert_eq!(results.len(), 100);
        let (given, refused): (Vec<_>, Vec<_>) =
            results.iter().partition(|text| text.starts_with("10."));
        assert_eq!(given.len(), 13, "sixteen but network, broadcast, gateway");
        assert_eq!(
            given.iter().collect::<BTreeSet<_>>().len(),
            13,
            "none twice"
        );
        assert!(
            refused
                .iter()
                .all(|text| *text == "the network a has no free address left in 10.77.0.0/28"),
            "{refused:?}"
        );
        world.networks.collect(&|_| false).unwrap();
        assert_eq!(links(), ["lo", "wire"]);
    });
}

#[test]
fn the_two_hundredth_comes_as_fast_as_the_first() {
    on_a_host(|world| {
        let network = world.network("a", |_| ());
        let mut times = Vec::new();
        for number in 1..=200 {
            let start = std::time::Instant::now();
            world
                .attach(&network, number, &Attachment::default())
                .unwrap();
            times.push(start.elapsed());
        }
        let median = |times: &[std::time::Duration]| {
            let mut times = times.to_vec();
            times.sort();
            times[times.len() / 2]
        };
        let (first, last) = (median(&times[1..21]), median(&times[180..]));
        println!("attach: first {first:?}, last {last:?}");
        // Reading and writing grow with the members; a start takes tens of
        // milliseconds besides.
        assert!(
            last < first * 3 + std::time::Duration::from_millis(10),
            "{first:?} {last:?}"
        );
    });
}

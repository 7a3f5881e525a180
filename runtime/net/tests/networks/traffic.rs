//! What reaches what.

use crate::world::*;

#[test]
fn neighbours_on_a_bridge_reach_each_other_and_what_leaves_is_masqueraded() {
    on_a_host(|world| {
        let network = world.network("a", |spec| spec.ipv6 = true);
        let one = world.container(&network, 1, &[]);
        let two = world.container(&network, 2, &[]);
        let port = serve(&two.namespace, "::", 0);
        assert_eq!(
            reach(Some(&one.namespace), two.v6(), port),
            Ok(one.v6().to_string())
        );
        let port = serve(&two.namespace, "0.0.0.0", 0);
        assert_eq!(
            reach(Some(&one.namespace), two.v4(), port),
            Ok(one.v4().to_string())
        );
        // From the host, by the gateway's address.
        let gateway = network.v4().unwrap().gateway;
        assert_eq!(reach(None, two.v4(), port), Ok(gateway.to_string()));
        // Out, both families.
        let port = serve(&world.neighbour, "0.0.0.0", 0);
        assert_eq!(
            reach(Some(&one.namespace), ip(NEIGHBOUR), port),
            Ok(HOST.to_owned())
        );
        let port = serve(&world.neighbour, "::", 0);
        assert_eq!(
            reach(Some(&one.namespace), ip(NEIGHBOUR6), port),
            Ok(HOST6.to_owned())
        );
        // Not in, even for one who knows the way.
        let port = serve(&two.namespace, "0.0.0.0", 0);
        world.route_into(&network);
        assert!(silent(Some(&world.neighbour), two.v4(), port));
    });
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    everywhere("0");
}

/// Other programs (Docker, Kubernetes) load br_netfilter, with which bridged packets
/// go through the firewall, too.
#[test]
fn published_ports_are_reached_with_br_netfilter() {
    everywhere("1");
}

fn everywhere(bridged: &'static str) {
    on_a_host(move |world| {
        let mut filtered = false;
        for family in ["iptables", "ip6tables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            filtered = std::fs::write(path, bridged).is_ok() && bridged == "1";
        }
        if bridged == "1" && !filtered {
            eprintln!("SKIPPED: no br_netfilter");
            return;
        }
        let network = world.network("a", |spec| spec.ipv6 = true);
        let other = world.network("b", |_| ());
        let server = world.container(&network, 1, &["8080:80", "8053:53/udp"]);
        let client = world.container(&network, 2, &[]);
        let stranger = world.container(&other, 3, &[]);
        serve(&server.namespace, "0.0.0.0", 80);
        serve_udp(&server.namespace, "0.0.0.0", 53);
        let gateway = network.v4().unwrap().gateway.to_string();
        let v4 = |from, to: &str| reach(from, ip(to), 8080);
        // The source is kept.
        assert_eq!(v4(Some(&world.neighbour), HOST), Ok(NEIGHBOUR.to_owned()));
        assert_eq!(v4(None, HOST), Ok(HOST.to_owned()));
        // Loopback's address would mean the container itself.
        assert_eq!(v4(None, "127.0.0.1"), Ok(gateway.clone()));
        assert_eq!(v4(None, "127.1.2.3"), Ok(gateway.clone()));
        // Hairpin: the answer has to come back through the host.
        assert_eq!(v4(Some(&client.namespace), HOST), Ok(gateway.clone()));
        assert_eq!(v4(Some(&server.namespace), HOST), Ok(gateway.clone()));
        assert_eq!(v4(Some(&client.namespace), &gateway), Ok(gateway.clone()));
        assert_eq!(
            v4(Some(&stranger.namespace), HOST),
            Ok(stranger.v4().to_string())
        );
        for (from, to, seen) in [
            (Some(&world.neighbour), HOST, NEIGHBOUR),
            (None, "127.0.0.1", gateway.as_str()),
            (Some(&client.namespace), HOST, gateway.as_str()),
        ] {
            assert_eq!(reach_udp(from, to, 8053), Ok(seen.to_owned()), "{to}");
        }
        // IPv6 but for ::1, which is the relay's.
        serve(&client.namespace, "::", 99);
        let six = world.container(&network, 4, &["8081:80"]);
        serve(&six.namespace, "::", 80);
        let gateway6 = network.v6().unwrap().gateway.to_string();
        let v6 = |from| reach(from, ip(HOST6), 8081);
        assert_eq!(v6(Some(&world.neighbour)), Ok(NEIGHBOUR6.to_owned()));
        assert_eq!(v6(None), Ok(HOST6.to_owned()));
        assert_eq!(v6(Some(&client.namespace)), Ok(gateway6));
        assert!(silent(None, ip("::1"), 8081));
        // Gone with the instance.
        world.networks.release(&server.lease.instance).unwrap();
        assert!(silent(Some(&world.neighbour), ip(HOST), 8080));
        assert_eq!(v6(None), Ok(HOST6.to_owned()), "the other's port stays");
    });
}

#[test]
fn a_port_of_one_address_is_of_no_other() {
    on_a_host(|world| {
        let network = world.network("a", |_| ());
        let ports = ["127.0.0.1:8080:80", "192.0.2.1:8081:80", "0.0.0.0:8082:80"];
        let server = world.container(&network, 1, &ports);
        serve(&server.namespace, "0.0.0.0", 80);
        assert!(reach(None, ip("127.0.0.1"), 8080).is_ok());
        assert!(silent(None, ip(HOST), 8080));
        assert!(silent(Some(&world.neighbour), ip(HOST), 8080));
        assert!(reach(Some(&world.neighbour), ip(HOST), 8081).is_ok());
        assert!(silent(None, ip("127.0.0.1"), 8081));
        assert!(reach(Some(&world.neighbour), ip(HOST), 8082).is_ok());
        assert!(reach(None, ip("127.0.0.1"), 8082).is_ok());
        // The neighbour says that the host is its way to 127.0.0.1.
        let mut socket =
            isola_netlink::Socket::route_in(std::os::fd::AsFd::as_fd(&world.neighbour)).unwrap();
        let wire = socket.link("wire").unwrap().unwrap().index;
        let route = isola_netlink::Route {
            destination: "127.0.0.0/8".parse().unwrap(),
            gateway: Some(ip(HOST)),
            index: Some(wire),
            table: 254,
        };
        loopback_by(&world.neighbour, "wire", &mut socket, &route);
        assert!(silent(Some(&world.neighbour), ip("127.0.0.1"), 8080));
        // So does a member, whose bridge routes loopback addresses.
        let secret = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = secret.local_addr().unwrap().port();
        let member = world.container(&network, 2, &[]);
        let mut socket =
            isola_netlink::Socket::route_in(std::os::fd::AsFd::as_fd(&member.namespace)).unwrap();
        let index = socket.link("eth0").unwrap().unwrap().index;
        let route = isola_netlink::Route {
            gateway: Some(member.network.v4().unwrap().gateway),
            index: Some(index),
            ..route
        };
        loopback_by(&member.namespace, "eth0", &mut socket, &route);
        secret.set_nonblocking(true).unwrap();
        assert!(silent(Some(&member.namespace), ip("127.0.0.1"), port));
        assert!(secret.accept().is_err(), "nothing may come through");
        assert!(silent(Some(&member.namespace), ip("127.0.0.1"), 8080));
    });
}

/// Makes a namespace send packets for 127.0.0.0/8 over a link.
fn loopback_by(
    namespace: &std::os::fd::OwnedFd,
    link: &str,
    socket: &mut isola_netlink::Socket,
    route: &isola_netlink::Route,
) {
    use std::os::fd::AsFd;
    isola_netlink::in_namespace(namespace.as_fd(), || {
        let path = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
        std::fs::write(path, "1").unwrap();
    })
    .unwrap();
    let lo = socket.link("lo").unwrap().unwrap().index;
    socket
        .remove_address(lo, "127.0.0.1/8".parse().unwrap())
        .unwrap();
    socket.add_route(route).unwrap();
}

#[test]
fn networks_are_closed_to_each_other_unless_both_are_open() {
    on_a_host(|world| {
        let isolate = |value: &'static str| {
            move |spec: &mut isola_net::NetworkSpec| {
                spec.options.insert("isolate".to_owned(), value.to_owned());
            }
        };
        let closed = world.network("closed", |_| ());
        let open = world.network("open", isolate("false"));
        let open2 = world.network("open2", isolate("false"));
        let one = world.container(&closed, 1, &[]);
        let two = world.container(&open, 2, &[]);
        let three = world.container(&open2, 3, &[]);
        for server in [&one, &two, &three] {
            serve(&server.namespace, "0.0.0.0", 80);
        }
        let to = |from: &Container, to: &Container| reach(Some(&from.namespace), to.v4(), 80);
        assert!(silent(Some(&one.namespace), two.v4(), 80));
        assert!(silent(Some(&two.namespace), one.v4(), 80));
        assert_eq!(to(&two, &three), Ok(two.v4().to_string()));
        assert_eq!(to(&three, &two), Ok(three.v4().to_string()));
        // Nor does a closed one's member reach another's name server.
        let gateway = |network: &isola_net::Network| network.v4().unwrap().gateway;
        for network in [&closed, &open] {
            let listener = std::net::TcpListener::bind((gateway(network), 53)).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    std::io::Write::write_all(&mut stream.unwrap(), b"name").unwrap();
                }
            });
        }
        assert!(reach(Some(&one.namespace), gateway(&closed), 53).is_ok());
        assert!(silent(Some(&one.namespace), gateway(&open), 53));
    });
}

#[test]
fn an_internal_network_has_no_way_in_or_out() {
    on_a_host(|world| {
        let network = world.network("inside", |spec| {
            spec.internal = true;
            spec.ipv6 = true;
        });
        let open = world.network("open", |spec| {
            spec.options
                .insert("isolate".to_owned(), "false".to_owned());
        });
        let one = world.container(&network, 1, &[]);
        let two = world.container(&network, 2, &[]);
        let other = world.container(&open, 3, &["8080:80"]);
        for (namespace, port) in [
            (&two.namespace, 80),
            (&other.namespace, 80),
            (&world.neighbour, 80),
        ] {
            serve(namespace, "::", port);
        }
        assert!(reach(Some(&one.namespace), two.v4(), 80).is_ok());
        assert!(reach(Some(&one.namespace), two.v6(), 80).is_ok());
        let listener = std::net::TcpListener::bind("[::]:5353").unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::io::Write::write_all(&mut stream.unwrap(), b"host").unwrap();
            }
        });
        for gateway in network.gateways() {
            assert!(
                reach(Some(&one.namespace), gateway, 5353).is_ok(),
                "{gateway}"
            );
        }
        // A member that makes a default route of its own gets nowhere.
        let mut socket =
            isola_netlink::Socket::route_in(std::os::fd::AsFd::as_fd(&one.namespace)).unwrap();
        let index = socket.link("eth0").unwrap().unwrap().index;
        for gateway in network.gateways() {
            socket
                .add_route(&isola_netlink::Route::default_by(gateway, index))
                .unwrap();
        }
        for (address, port) in [
            (ip(NEIGHBOUR), 80),
            (ip(NEIGHBOUR6), 80),
            (ip(HOST), 5353),
            (ip(HOST6), 5353),
            (ip(HOST), 8080),
            (other.v4(), 80),
        ] {
            assert!(silent(Some(&one.namespace), address, port), "{address}");
        }
        world.route_into(&network);
        assert!(silent(Some(&world.neighbour), one.v4(), 80));
        let asked = isola_net::Attachment {
            ports: other.lease.ports.clone(),
            ..isola_net::Attachment::default()
        };
        let error = world.attach(&network, 9, &asked).unwrap_err();
        assert!(error.message.contains("which is internal"), "{error}");
    });
}

#[test]
fn taps_are_ports_of_a_bridge_as_long_as_they_are_open() {
    on_a_host(|world| {
        if !std::path::Path::new("/dev/net/tun").exists() {
            eprintln!("SKIPPED: no /dev/net/tun");
            return;
        }
        let network = world.network("a", |spec| {
            spec.options.insert("mtu".to_owned(), "1400".to_owned());
        });
        let attached = world
            .attach(&network, 1, &isola_net::Attachment::default())
            .unwrap();
        let mut socket = isola_netlink::Socket::route().unwrap();
        let tap = isola_net::tap::Tap::new(Some(attached.bridge), 2, network.mtu).unwrap();
        assert_eq!(tap.queues.len(), 2);
        let link = socket.link(&tap.name).unwrap().unwrap();
        assert_eq!(
            (link.master, link.mtu, link.up),
            (Some(attached.bridge), 1400, true)
        );
        let spare = isola_net::tap::Tap::new(None, 1, None).unwrap();
        let link = socket.link(&spare.name).unwrap().unwrap();
        assert_eq!((link.master, link.up), (None, false));
        isola_net::tap::connect(spare.index, attached.bridge, network.mtu).unwrap();
        assert_eq!(
            socket.link(&spare.name).unwrap().unwrap().master,
            Some(attached.bridge)
        );
        isola_net::tap::disconnect(spare.index).unwrap();
        let link = socket.link(&spare.name).unwrap().unwrap();
        assert_eq!((link.master, link.up), (None, false));
        let names = [tap.name.clone(), spare.name.clone()];
        drop((tap, spare));
        assert!(links().iter().all(|name| !names.contains(name)));
        assert!(isola_net::tap::Tap::new(None, 0, None).is_err());
    });
}

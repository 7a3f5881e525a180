//! Against the kernel, in network namespaces of the tests' own. Skipped aloud
//! when not root.

#![allow(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use isola_netlink::{
    LinkChange, Route, Socket, Veth, configure, in_namespace, refuse_router_advertisements,
};
use isola_proto::{Interface, Mac};
use rustix::io::Errno;
use rustix::thread::{UnshareFlags, unshare_unsafe};

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}

/// A new network namespace, which lives as long as its descriptor.
fn namespace() -> OwnedFd {
    std::thread::spawn(|| {
        // SAFETY: only the thread's network namespace changes.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        std::fs::File::open("/proc/thread-self/ns/net")
            .unwrap()
            .into()
    })
    .join()
    .unwrap()
}

fn interface(hardware: Mac, name: &str, addresses: &[&str], gateways: &[&str]) -> Interface {
    Interface {
        hardware,
        name: name.to_owned(),
        mac: None,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        mtu: Some(1400),
        up: true,
    }
}

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const BRIDGE: Mac = Mac([2, 0, 0, 0, 0, 0xff]);

/// A bridge `br` with address and a veth to `inner`, whose link is still `in0`.
fn pair(outer: &OwnedFd, inner: &OwnedFd) -> u32 {
    let mut socket = Socket::route_in(outer.as_fd()).unwrap();
    let bridge = socket.add_bridge("br", BRIDGE).unwrap();
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    socket.set_link(bridge, &up).unwrap();
    for net in ["10.9.0.1/24", "fd09::1/64"] {
        socket.add_address(bridge, net.parse().unwrap()).unwrap();
    }
    socket
        .add_veth(&Veth {
            name: "out0",
            master: Some(bridge),
            mtu: Some(1500),
            peer: "in0",
            mac: MAC,
            namespace: inner.as_fd(),
        })
        .unwrap();
    bridge
}

#[test]
fn links_are_made_where_they_belong_and_described() {
    if !root() {
        return;
    }
    let (outer, inner) = (namespace(), namespace());
    let bridge = pair(&outer, &inner);
    let mut socket = Socket::route_in(outer.as_fd()).unwrap();
    let link = socket.link("br").unwrap().unwrap();
    assert_eq!(link.index, bridge);
    assert_eq!(link.kind.as_deref(), Some("bridge"));
    assert_eq!(link.mac, Some(BRIDGE));
    assert!(link.up);
    let out = socket.link("out0").unwrap().unwrap();
    assert_eq!(out.master, Some(bridge));
    assert_eq!(out.kind.as_deref(), Some("veth"));
    assert!(out.up);
    assert_eq!(socket.link("in0").unwrap(), None);
    assert_eq!(socket.links().unwrap().len(), 3, "with lo");

    let mut far = Socket::route_in(inner.as_fd()).unwrap();
    let inside = far.link("in0").unwrap().unwrap();
    assert_eq!((inside.mac, inside.up), (Some(MAC), false));

    // A port leaves its bridge, is renamed, and goes with its peer.
    let change = LinkChange {
        master: Some(0),
        up: Some(false),
        ..LinkChange::default()
    };
    socket.set_link(out.index, &change).unwrap();
    let change = LinkChange {
        name: Some("gone0"),
        ..LinkChange::default()
    };
    socket.set_link(out.index, &change).unwrap();
    let out = socket.link("gone0").unwrap().unwrap();
    assert_eq!((out.master, out.up), (None, false));
    let change = LinkChange {
        namespace: Some(inner.as_fd()),
        ..LinkChange::default()
    };
    socket.set_link(out.index, &change).unwrap();
    assert_eq!(socket.link("gone0").unwrap(), None);
    assert!(far.link("gone0").unwrap().is_some());
    far.delete_link(inside.index).unwrap();
    far.delete_link(inside.index).unwrap();
    assert_eq!(
        far.link("gone0").unwrap(),
        None,
        "the other end went with it"
    );
}

#[test]
fn the_kernel_says_why_it_refuses() {
    if !root() {
        return;
    }
    let outer = namespace();
    let mut socket = Socket::route_in(outer.as_fd()).unwrap();
    let bridge = socket.add_bridge("br", BRIDGE).unwrap();
    let error = socket.add_bridge("br", BRIDGE).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EXIST));
    assert_eq!(
        error.to_string(),
        "cannot make the bridge br: File exists (os error 17)"
    );
    let route = Route::default_by("10.9.0.1".parse().unwrap(), bridge);
    let error = socket.add_route(&route).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot add the route to 0.0.0.0/0 by 10.9.0.1 on link")
            && error.contains(": Nexthop has invalid gateway")
            || error.contains("Device for nexthop is not up"),
        "{error}"
    );
    assert!(socket.add_bridge("a/b", BRIDGE).is_err());
}

#[test]
fn addresses_and_routes_come_and_go() {
    if !root() {
        return;
    }
    let (outer, inner) = (namespace(), namespace());
    let bridge = pair(&outer, &inner);
    let mut socket = Socket::route_in(outer.as_fd()).unwrap();
    let nets: Vec<_> = socket
        .addresses(Some(bridge))
        .unwrap()
        .into_iter()
        .filter(|address| address.global)
        .map(|address| address.net.to_string())
        .collect();
    assert_eq!(nets, ["10.9.0.1/24", "fd09::1/64"]);
    // Adding what is there is no error.
    socket
        .add_address(bridge, "10.9.0.1/24".parse().unwrap())
        .unwrap();

    let gateways: [IpAddr; 2] = ["10.9.0.7".parse().unwrap(), "fd09::7".parse().unwrap()];
    for gateway in gateways {
        let route = Route::default_by(gateway, bridge);
        socket.add_route(&route).unwrap();
        assert!(socket.routes().unwrap().contains(&route), "{gateway}");
        socket.remove_route(&route).unwrap();
        socket.remove_route(&route).unwrap();
        assert!(!socket.routes().unwrap().contains(&route), "{gateway}");
    }
    let nets: Vec<_> = socket
        .routes()
        .unwrap()
        .into_iter()
        .map(|route| route.destination)
        .collect();
    for net in ["10.9.0.0/24", "fd09::/64"] {
        assert!(nets.contains(&net.parse().unwrap()), "{net} in {nets:?}");
    }
    for net in ["10.9.0.1/24", "fd09::1/64"] {
        socket.remove_address(bridge, net.parse().unwrap()).unwrap();
        socket.remove_address(bridge, net.parse().unwrap()).unwrap();
    }
    assert!(
        socket
            .addresses(Some(bridge))
            .unwrap()
            .iter()
            .all(|address| !address.global)
    );
}

/// What a test compares: names, macs, mtus, states, addresses, default routes.
fn state(socket: &mut Socket) -> Vec<String> {
    let mut lines = Vec::new();
    for link in socket.links().unwrap() {
        lines.push(format!(
            "{} {:?} {} {}",
            link.name, link.mac, link.mtu, link.up
        ));
        for address in socket.addresses(Some(link.index)).unwrap() {
            if address.global {
                lines.push(format!("{} {}", link.name, address.net));
            }
        }
    }
    for route in socket.routes().unwrap() {
        if let (true, Some(gateway)) = (route.is_default(), route.gateway) {
            lines.push(format!("default {gateway}"));
        }
    }
    lines
}

#[test]
fn an_interface_is_set_up_again_and_again_and_taken_down() {
    if !root() {
        return;
    }
    let (outer, inner) = (namespace(), namespace());
    pair(&outer, &inner);
    let mut socket = Socket::route_in(inner.as_fd()).unwrap();
    let new = Mac([2, 0, 0, 0, 0, 9]);
    let mut wanted = interface(
        MAC,
        "eth0",
        &["10.9.0.2/24", "10.9.0.3/24", "fd09::2/64"],
        &["10.9.0.1", "fd09::1"],
    );
    wanted.mac = Some(new);
    let expected = [
        "lo Some(Mac([0, 0, 0, 0, 0, 0])) 65536 true".to_owned(),
        format!("eth0 {:?} 1400 true", Some(new)),
        "eth0 10.9.0.2/24".to_owned(),
        "eth0 10.9.0.3/24".to_owned(),
        "eth0 fd09::2/64".to_owned(),
        "default 10.9.0.1".to_owned(),
        "default fd09::1".to_owned(),
    ];
    for _ in 0..2 {
        configure(&mut socket, std::slice::from_ref(&wanted)).unwrap();
        assert_eq!(state(&mut socket), expected);
    }
    // It works, both ways and for both families.
    for server in ["10.9.0.2", "fd09::2"] {
        let address: IpAddr = server.parse().unwrap();
        let listener = in_namespace(inner.as_fd(), || TcpListener::bind((address, 0)))
            .unwrap()
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        in_namespace(outer.as_fd(), || TcpStream::connect((address, port)))
            .unwrap()
            .unwrap();
    }
    // Other addresses and gateways: the primary address and a route go.
    wanted.addresses = vec![
        "10.9.0.3/24".parse().unwrap(),
        "10.9.0.4/24".parse().unwrap(),
    ];
    wanted.gateways = vec!["10.9.0.254".parse().unwrap()];
    configure(&mut socket, std::slice::from_ref(&wanted)).unwrap();
    assert_eq!(
        state(&mut socket)[2..],
        ["eth0 10.9.0.3/24", "eth0 10.9.0.4/24", "default 10.9.0.254"]
    );
    // Down, as a spare NIC.
    wanted.up = false;
    configure(&mut socket, &[wanted]).unwrap();
    assert_eq!(
        state(&mut socket)[1..],
        [format!("eth0 {:?} 1400 false", Some(new))]
    );
}

#[test]
fn names_may_be_swapped_but_not_taken() {
    if !root() {
        return;
    }
    let (outer, inner) = (namespace(), namespace());
    let mut socket = Socket::route_in(outer.as_fd()).unwrap();
    for number in 0..3_u8 {
        let (name, peer) = (format!("out{number}"), format!("eth{number}"));
        socket
            .add_veth(&Veth {
                name: &name,
                master: None,
                mtu: None,
                peer: &peer,
                mac: Mac([2, 0, 0, 0, 0, number]),
                namespace: inner.as_fd(),
            })
            .unwrap();
    }
    let mut socket = Socket::route_in(inner.as_fd()).unwrap();
    let mac = |number| Mac([2, 0, 0, 0, 0, number]);
    let swapped = [
        interface(mac(0), "eth1", &[], &[]),
        interface(mac(1), "eth0", &[], &[]),
    ];
    for _ in 0..2 {
        configure(&mut socket, &swapped).unwrap();
        assert_eq!(socket.link("eth1").unwrap().unwrap().mac, Some(mac(0)));
        assert_eq!(socket.link("eth0").unwrap().unwrap().mac, Some(mac(1)));
    }
    let error = configure(&mut socket, &[interface(mac(0), "eth2", &[], &[])]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot name the link eth1 eth2: another link has this name"
    );
    let error = configure(&mut socket, &[interface(mac(9), "eth9", &[], &[])]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot set eth9 up: no link has the hardware address 02:00:00:00:00:09"
    );
}

#[test]
fn router_advertisements_are_refused_in_the_namespace_only() {
    if !root() {
        return;
    }
    let inner = namespace();
    let path = "/proc/sys/net/ipv6/conf/default/accept_ra";
    let Ok(outside) = std::fs::read_to_string(path) else {
        eprintln!("SKIPPED: no IPv6");
        return;
    };
    let inside = in_namespace(inner.as_fd(), || {
        refuse_router_advertisements().unwrap();
        std::fs::read_to_string(path).unwrap()
    })
    .unwrap();
    assert_eq!(inside.trim(), "0");
    assert_eq!(std::fs::read_to_string(path).unwrap(), outside);
}

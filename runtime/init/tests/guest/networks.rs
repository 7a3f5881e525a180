//! Links of a guest.

use isola_proto::{Event, Failure, Interface, Mac, Request};

use crate::machine::Machine;
use crate::parts::Parts;
use crate::{exit, guest_spec, hello, process, run, sandbox};

const FIRST: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SPARE: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn link(hardware: Mac, name: &str) -> Interface {
    Interface {
        hardware,
        name: name.into(),
        mac: None,
        addresses: Vec::new(),
        gateways: Vec::new(),
        mtu: None,
        up: false,
    }
}

fn set_up(machine: &mut Machine, id: u32, interface: Interface) -> Result<(), Failure> {
    machine.request(&Request::Interfaces {
        id,
        interfaces: vec![interface],
        files: Vec::new(),
    });
    machine.event(|event| match event {
        Event::Done { id: of } if *of == id => Some(Ok(())),
        Event::Failed {
            id: of, failure, ..
        } if *of == id => Some(Err(failure.clone())),
        _ => None,
    })
}

/// With every kernel: a fetched one has the NIC's driver as modules.
#[test]
fn links_have_their_addresses_before_the_workload_and_more_come_later() {
    if std::env::var_os("ISOLA_TEST_VMM").is_some() {
        eprintln!("SKIPPED: the monitor's NICs need taps");
        return;
    }
    for kernel in crate::parts::Kernel::all() {
        eprintln!("with {}", kernel.image.display());
        let Some(mut parts) = Parts::of(kernel) else {
            return;
        };
        parts.nics = vec![SPARE, FIRST];
        networks(&parts);
    }
}

fn networks(parts: &Parts) {
    let mut machine = Machine::start(parts);
    hello(&mut machine);
    let mut guest = guest_spec();
    let first = Interface {
        mac: Some(Mac([2, 0x42, 10, 9, 0, 2])),
        addresses: vec![
            "10.9.0.2/24".parse().unwrap(),
            "fd09::2/64".parse().unwrap(),
        ],
        gateways: vec!["10.9.0.1".parse().unwrap(), "fd09::1".parse().unwrap()],
        mtu: Some(1400),
        up: true,
        ..link(FIRST, "eth0")
    };
    guest.interfaces = vec![first, link(SPARE, "eth1")];
    machine.boot(guest).unwrap();
    let script = "ip -o address; ip route; ip -6 route; ip link; \
                  cat /proc/sys/net/ipv6/conf/eth0/forwarding /proc/sys/net/ipv6/conf/eth?/accept_ra; \
                  exec sleep 1000";
    let mut spec = sandbox(process(&["sh", "-c", script]));
    // A guest's links are for its sandbox, whatever it is told.
    spec.namespaces.net = true;
    spec.root.sysctls = vec![("net.ipv6.conf.eth0.forwarding".into(), "1".into())];
    machine.request(&Request::Start { channel: 1, spec });
    machine.until(|machine| machine.text(1).ends_with("1\n0\n0\n"));
    let text = machine.text(1);
    for part in [
        "inet 10.9.0.2/24",
        "inet6 fd09::2/64 scope global",
        "default via 10.9.0.1 dev eth0",
        "default via fd09::1 dev eth0",
        "mtu 1400",
        "02:42:0a:09:00:02",
        "inet 127.0.0.1/8",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("scope global").count(), 2, "{text}");
    let spare = text.lines().find(|line| line.contains("eth1: <")).unwrap();
    assert!(!spare.contains("UP"), "{spare}");

    let second = Interface {
        addresses: vec!["10.9.0.3/24".parse().unwrap()],
        up: true,
        ..link(SPARE, "eth1")
    };
    assert_eq!(set_up(&mut machine, 50, second), Ok(()));
    let text = run(&mut machine, 2, &["ip", "-o", "address", "show", "eth1"]);
    assert!(text.contains("inet 10.9.0.3/24"), "{text}");
    let text = run(&mut machine, 3, &["ip", "address", "show", "eth0"]);
    assert!(text.contains("inet 10.9.0.2/24"), "it stays: {text}");
    let absent = link(Mac([2, 0, 0, 0, 0, 9]), "eth2");
    let failure = set_up(&mut machine, 51, absent).unwrap_err();
    assert!(failure.message.contains("02:00:00:00:00:09"), "{failure}");
    machine.request(&Request::Signal {
        channel: 1,
        signal: 9,
    });
    exit(&mut machine, 1);
    machine.request(&Request::Shutdown);
    machine.until_off();
}

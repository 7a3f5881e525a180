//! The table beside others. `nft` is used to look, and to play the others.

use std::process::Command;

use isola_net::{Attachment, NetworkSpec, Networks, Protocol, Published};

use crate::world::*;

/// `nft` in the thread's namespace; a child inherits it.
fn nft(arguments: &[&str]) -> Option<String> {
    match Command::new("nft").args(arguments).output() {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => panic!("nft: {}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => {
            eprintln!("SKIPPED: no nft (package nftables)");
            None
        }
    }
}

fn port(host: u16) -> Attachment {
    Attachment {
        ports: vec![Published {
            protocol: Protocol::Tcp,
            address: None,
            host,
            container: 80,
        }],
        ..Attachment::default()
    }
}

#[test]
fn other_tables_stay_and_our_own_comes_back_and_goes() {
    on_a_host(|world| {
        if nft(&["add", "table", "inet", "filter"]).is_none() {
            return;
        }
        let chain = "{ type filter hook forward priority 0 ; policy drop ; }";
        nft(&["add", "chain", "inet", "filter", "forward", chain]);
        nft(&[
            "add", "rule", "inet", "filter", "forward", "iifname", "wire", "accept",
        ]);
        let foreign = nft(&["list", "table", "inet", "filter"]);
        let notices = isola_net::foreign_drops().unwrap();
        assert_eq!(notices.len(), 1);
        assert!(
            notices[0].to_string().contains("inet filter forward"),
            "{notices:?}"
        );

        let network = world.network("a", |_| ());
        let one = world.attach(&network, 1, &port(8080)).unwrap();
        let list = || nft(&["list", "table", "inet", "isola"]).unwrap();
        let with_one = list();
        println!("{with_one}");
        assert!(with_one.contains(&one.lease.instance), "owners are shown");
        // A second port, and back: nothing else changes.
        world.attach(&network, 2, &port(8081)).unwrap();
        assert_ne!(list(), with_one);
        world.networks.release(&instance(2).id).unwrap();
        assert_eq!(list(), with_one);
        // Others may flush: the table's rules, or everything.
        nft(&["flush", "table", "inet", "isola"]);
        assert_ne!(list(), with_one);
        world.networks.collect(&|_| true).unwrap();
        assert_eq!(list(), with_one);
        nft(&["delete", "table", "inet", "isola"]);
        world.networks.collect(&|_| true).unwrap();
        assert_eq!(list(), with_one);
        nft(&["flush", "map", "inet", "isola", "any4"]);
        world.networks.collect(&|_| true).unwrap();
        assert_eq!(list(), with_one);

        assert_eq!(nft(&["list", "table", "inet", "filter"]), foreign);
        world.networks.release(&one.lease.instance).unwrap();
        assert_eq!(
            nft(&["list", "tables"]).unwrap().trim(),
            "table inet filter"
        );
        assert_eq!(nft(&["list", "table", "inet", "filter"]), foreign);
    });
}

#[test]
fn data_roots_share_the_table_without_disturbing_each_other() {
    on_a_host(|world| {
        let other_root = tempfile::tempdir().unwrap();
        let other = Networks::open(other_root.path()).unwrap();
        let theirs = other
            .create(&NetworkSpec {
                name: "a".to_owned(),
                ..NetworkSpec::default()
            })
            .unwrap();
        let ours = world.network("a", |_| ());
        let server = world.container(&ours, 1, &["8080:80"]);
        serve(&server.namespace, "0.0.0.0", 80);
        other
            .attach(&theirs, &instance(1), &port(8081), &|_| true)
            .unwrap();
        other.collect(&|_| false).unwrap();
        assert!(reach(Some(&world.neighbour), ip(HOST), 8080).is_ok());
        // A port that a dead instance of theirs seems to have.
        other
            .attach(&theirs, &instance(1), &port(8082), &|_| true)
            .unwrap();
        let mine = world.container(&ours, 2, &["8082:80"]);
        serve(&mine.namespace, "0.0.0.0", 80);
        assert!(reach(Some(&world.neighbour), ip(HOST), 8082).is_ok());
    });
}

#[test]
fn many_ports_are_one_transaction() {
    on_a_host(|world| {
        let network = world.network("a", |spec| spec.ipv6 = true);
        let ports = (10000..14000)
            .map(|host| Published {
                protocol: Protocol::Udp,
                address: None,
                host,
                container: host,
            })
            .collect();
        let asked = Attachment {
            ports,
            ..Attachment::default()
        };
        world.attach(&network, 1, &asked).unwrap();
        if let Some(text) = nft(&["list", "map", "inet", "isola", "any6"]) {
            assert_eq!(text.matches(&instance(1).id).count(), 4000);
        }
        world.networks.release(&instance(1).id).unwrap();
        assert_eq!(links(), ["lo", "wire"]);
    });
}

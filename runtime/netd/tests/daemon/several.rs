//! What members of several networks ask.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType::{A, AAAA, MX, PTR};
use isola_net::daemon::Member;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Net, ask, member, net, query, second, send, send_tcp, with_edns, words};
use crate::upstream;

const OTHER: &str = "172.16.0.1";

/// Joins as one that is in the second network, too.
fn join_both(net: &Net, name: &str, address: &str, outside: bool) -> Member {
    let mut both = member(&[name], &[address]);
    both.others = vec![OTHER.parse().unwrap()];
    both.outside = outside;
    net.try_join(both, Vec::new()).unwrap()
}

#[test]
fn names_of_all_networks_are_found_from_the_first() {
    let Some(net) = net() else { return };
    let upstream = upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    let other = second(&net);
    let mut both = join_both(&net, "both", "10.0.0.2", true);
    let _one = net.join(&["one", "shared"], &["10.0.0.3"]);
    let _db = other.join(&["db", "shared", "db.test"], &["172.16.0.3", "fd00::3"]);
    for (name, kind, expected) in [
        ("db", A, "NoError 172.16.0.3"),
        ("DB", AAAA, "NoError fd00::3"),
        ("db", MX, "NoError"),
        ("db.other", A, "NoError 172.16.0.3"),
        ("db.test", A, "NoError 172.16.0.3"),
        ("3.0.16.172.in-addr.arpa", PTR, "NoError db.other."),
        ("shared", A, "NoError 10.0.0.3"),
        ("shared.other", A, "NoError 172.16.0.3"),
        ("nosuch", A, "NXDomain"),
    ] {
        assert_eq!(ask("10.0.0.2", name, kind), expected, "{name} {kind}");
        let over_tcp = words(send_tcp("10.0.0.2", &query(name, kind)));
        assert_eq!(over_tcp, expected, "{name} {kind} over TCP");
    }
    assert_eq!(upstream.load(Ordering::SeqCst), 0);
    // The asker's flags come back.
    let asked = with_edns(query("db", A), 1232);
    let reply = send("10.0.0.2", &asked, Duration::from_secs(8)).unwrap();
    assert!(reply.recursion_desired && reply.recursion_available);
    // Others of the first network are not in the second.
    assert_eq!(ask("10.0.0.3", "db", A), "NXDomain");
    assert_eq!(ask("10.0.0.3", "db.test", A), "NoError 192.0.2.1");
    // What nobody has is asked of resolvers once: the second network passes nothing on.
    let before = upstream.load(Ordering::SeqCst);
    assert_eq!(ask("10.0.0.2", "example.test", A), "NoError 192.0.2.1");
    assert_eq!(ask("10.0.0.2", "no.test", A), "NXDomain");
    assert_eq!(upstream.load(Ordering::SeqCst), before + 2);
    // It leaves the second network while it runs.
    both.update(member(&["both"], &["10.0.0.2"])).unwrap();
    assert_eq!(ask("10.0.0.2", "db", A), "NXDomain");
}

#[test]
fn many_addresses_come_whole_from_the_other_network() {
    let Some(net) = net() else { return };
    let other = second(&net);
    let _both = join_both(&net, "both", "10.0.0.2", true);
    let all: Vec<_> = (1..=100)
        .map(|n| other.join(&["all"], &[&format!("172.16.1.{n}")]))
        .collect();
    let cut = send("10.0.0.2", &query("all", A), Duration::from_secs(5)).unwrap();
    assert!(cut.truncation);
    let whole = send_tcp("10.0.0.2", &query("all", A)).unwrap();
    assert_eq!((whole.truncation, whole.answers.len()), (false, all.len()));
}

#[test]
fn internal_networks_lead_out_only_with_others() {
    let Some(mut net) = net() else { return };
    let upstream = upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    net.config.internal = true;
    let other = second(&net);
    let _open = join_both(&net, "open", "10.0.0.2", true);
    let _shut = join_both(&net, "shut", "10.0.0.3", false);
    let _one = net.join(&["one"], &["10.0.0.4"]);
    let _db = other.join(&["db"], &["172.16.0.3"]);
    for (source, db, example) in [
        ("10.0.0.2", "NoError 172.16.0.3", "NoError 192.0.2.1"),
        ("10.0.0.3", "NoError 172.16.0.3", "NXDomain"),
        ("10.0.0.4", "NXDomain", "NXDomain"),
    ] {
        let before = upstream.load(Ordering::SeqCst);
        assert_eq!(ask(source, "db", A), db, "{source}");
        assert_eq!(ask(source, "nosuch", A), "NXDomain", "{source}");
        assert_eq!(upstream.load(Ordering::SeqCst), before, "{source}");
        assert_eq!(ask(source, "example.test", A), example, "{source}");
    }
}

#[test]
fn two_networks_that_name_each_other_do_not_go_round() {
    let Some(net) = net() else { return };
    let upstream = upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    let other = second(&net);
    let _here = join_both(&net, "here", "10.0.0.2", true);
    // The gateways' addresses as members: what comes from the host looks like one that
    // is in both networks.
    let _odd = join_both(&net, "odd", "10.0.0.1", true);
    let mut there = member(&["there"], &[OTHER]);
    there.others = vec!["10.0.0.1".parse().unwrap(), OTHER.parse().unwrap()];
    there.outside = true;
    let _there = other.try_join(there, Vec::new()).unwrap();
    assert_eq!(ask("10.0.0.2", "nosuch", A), "NXDomain");
    assert_eq!(ask("10.0.0.2", "example.test", A), "NoError 192.0.2.1");
    assert_eq!(upstream.load(Ordering::SeqCst), 1);
}

#[test]
fn a_network_that_is_dead_or_stopped_is_passed_over() {
    let Some(net) = net() else { return };
    upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    let other = second(&net);
    let _both = join_both(&net, "both", "10.0.0.2", true);
    let mut db = other.join(&["db"], &["172.16.0.3"]);
    let signal = |signal| kill_process(Pid::from_raw(other.process()).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    let started = Instant::now();
    // Nobody knows whether it is there: not the same as that it is not.
    assert_eq!(ask("10.0.0.2", "db", A), "ServFail");
    assert_eq!(ask("10.0.0.2", "example.test", A), "NoError 192.0.2.1");
    let took = started.elapsed();
    assert!(took.as_millis() >= 1000, "{took:?}: both waited for it");
    assert_eq!(ask("10.0.0.2", "both", A), "NoError 10.0.0.2");
    signal(Signal::CONT);
    assert_eq!(ask("10.0.0.2", "db", A), "NoError 172.16.0.3");
    signal(Signal::KILL);
    crate::support::until("it is dead", || other.processes().is_empty());
    let started = Instant::now();
    assert_eq!(ask("10.0.0.2", "db", A), "ServFail");
    assert_eq!(ask("10.0.0.2", "example.test", A), "NoError 192.0.2.1");
    let sooner = started.elapsed();
    assert!(sooner < took, "{sooner:?}: nobody waits for the dead");
    // What a member says while its process is dead is what it says to the next one.
    assert!(db.update(member(&["sql"], &["172.16.0.3"])).is_err());
    db.rejoin().unwrap();
    assert_eq!(ask("10.0.0.2", "sql", A), "NoError 172.16.0.3");
    assert_eq!(ask("10.0.0.2", "db", A), "NXDomain");
}

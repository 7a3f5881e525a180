//! What others are asked.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType::{A, TXT};

use crate::support::{ask, member, net, query, send, send_tcp, with_edns, words};
use crate::upstream;

#[test]
fn other_names_are_asked_of_the_hosts_resolvers() {
    let Some(net) = net() else { return };
    let one = upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    let two = upstream::start("127.0.0.54", Ipv4Addr::new(192, 0, 2, 2));
    let _web = net.join(&["web"], &["10.0.0.2"]);
    let mut own = member(&["own"], &["10.0.0.3"]);
    own.dns = vec!["127.0.0.54".parse().unwrap()];
    let _own = net.try_join(own, Vec::new()).unwrap();
    assert_eq!(ask("10.0.0.2", "example.test", A), "NoError 192.0.2.1");
    assert_eq!(ask("10.0.0.3", "example.test", A), "NoError 192.0.2.2");
    assert_eq!(ask("10.0.0.2", "no.test", A), "NXDomain");
    assert_eq!(ask("10.0.0.2", "fail.test", A), "ServFail");
    let over_tcp = words(send_tcp("10.0.0.2", &query("example.test", A)));
    assert_eq!(over_tcp, "NoError 192.0.2.1");
    let before = one.load(Ordering::SeqCst);
    assert_eq!(ask("10.0.0.2", "unqualified", A), "NXDomain");
    assert_eq!(one.load(Ordering::SeqCst), before);
    // The file changes.
    std::fs::write(&net.config.resolvers, "# other\nnameserver 127.0.0.54\n").unwrap();
    assert_eq!(ask("10.0.0.2", "example.test", A), "NoError 192.0.2.2");
    assert!(two.load(Ordering::SeqCst) >= 2);
}

#[test]
fn a_members_other_networks_are_asked_first() {
    let Some(net) = net() else { return };
    let asked = upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    // The server of another network, as far as this one knows.
    upstream::start("127.0.0.60", Ipv4Addr::new(192, 0, 2, 60));
    let mut both = member(&["both"], &["10.0.0.2"]);
    both.others = vec!["127.0.0.60".parse().unwrap()];
    let _both = net.try_join(both, Vec::new()).unwrap();
    let _one = net.join(&["one"], &["10.0.0.3"]);
    assert_eq!(ask("10.0.0.2", "one", A), "NoError 10.0.0.3");
    assert_eq!(ask("10.0.0.2", "peer", A), "NoError 192.0.2.60");
    assert_eq!(ask("10.0.0.2", "peer.test", A), "NoError 192.0.2.60");
    let over_tcp = words(send_tcp("10.0.0.2", &query("peer", A)));
    assert_eq!(over_tcp, "NoError 192.0.2.60");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // What is not known there, either.
    assert_eq!(ask("10.0.0.2", "no", A), "NXDomain");
    assert_eq!(ask("10.0.0.3", "peer", A), "NXDomain");
    // Another network's server asks for what is known here.
    let mut plain = query("one", A);
    plain.metadata.recursion_desired = false;
    let patience = Duration::from_secs(8);
    assert_eq!(
        words(send("127.0.0.1", &plain, patience)),
        "NoError 10.0.0.3"
    );
    let mut plain = query("peer.test", A);
    plain.metadata.recursion_desired = false;
    assert_eq!(words(send("127.0.0.1", &plain, patience)), "Refused");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn cut_answers_are_asked_for_over_tcp() {
    let Some(net) = net() else { return };
    upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    let _web = net.join(&["web"], &["10.0.0.2"]);
    let patience = Duration::from_secs(8);
    let small = send("10.0.0.2", &query("big.test", TXT), patience).unwrap();
    assert!(small.truncation && small.answers.is_empty());
    // The asker takes as much as the answer has.
    let fits = send(
        "10.0.0.2",
        &with_edns(query("big.test", TXT), 1232),
        patience,
    )
    .unwrap();
    assert_eq!((fits.truncation, fits.answers.len()), (false, 4));
    let cut = send(
        "10.0.0.2",
        &with_edns(query("huge.test", TXT), 1232),
        patience,
    )
    .unwrap();
    assert!(cut.truncation);
    let whole = send_tcp("10.0.0.2", &query("huge.test", TXT)).unwrap();
    assert_eq!((whole.truncation, whole.answers.len()), (false, 15));
}

#[test]
fn servers_that_fail_are_passed_over() {
    let Some(net) = net() else { return };
    upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    let deaf = UdpSocket::bind("127.0.0.60:53").unwrap();
    // Nobody listens at the first, the second never answers; we are the third.
    let file = &net.config.resolvers;
    std::fs::write(
        file,
        "nameserver 127.0.0.61\nnameserver 127.0.0.60\nnameserver 127.0.0.53\n",
    )
    .unwrap();
    let _web = net.join(&["web"], &["10.0.0.2"]);
    let started = Instant::now();
    assert_eq!(ask("10.0.0.2", "example.test", A), "NoError 192.0.2.1");
    let took = started.elapsed();
    assert!((1400..3000).contains(&took.as_millis()), "{took:?}");
    // Others are answered meanwhile.
    let slow = std::thread::spawn(|| ask("10.0.0.2", "silent.test", A));
    let started = Instant::now();
    assert_eq!(ask("10.0.0.2", "web", A), "NoError 10.0.0.2");
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(slow.join().unwrap(), "ServFail");
    drop(deaf);
    // Never ourselves: that would go round for ever.
    std::fs::write(file, "nameserver 10.0.0.1\nnameserver fd00::1\n").unwrap();
    let started = Instant::now();
    assert_eq!(ask("10.0.0.2", "example.test", A), "ServFail");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn one_source_does_not_take_all_forwards() {
    let Some(net) = net() else { return };
    upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    let _a = net.join(&["a"], &["10.0.0.2"]);
    let _b = net.join(&["b"], &["10.0.0.3"]);
    let flood = UdpSocket::bind("10.0.0.2:0").unwrap();
    for _ in 0..500 {
        let bytes = query("silent.test", A).to_vec().unwrap();
        flood.send_to(&bytes, "10.0.0.1:53").unwrap();
    }
    assert_eq!(ask("10.0.0.3", "example.test", A), "NoError 192.0.2.1");
    assert_eq!(ask("10.0.0.2", "b", A), "NoError 10.0.0.3");
    // What is over the limit is refused at once.
    let over = send(
        "10.0.0.2",
        &query("example.test", A),
        Duration::from_secs(1),
    );
    assert_eq!(words(over), "ServFail");
}

#[test]
fn an_internal_network_asks_nobody() {
    let Some(mut net) = net() else { return };
    let one = upstream::start("127.0.0.53", Ipv4Addr::new(192, 0, 2, 1));
    net.config.internal = true;
    let _web = net.join(&["web"], &["10.0.0.2"]);
    assert_eq!(ask("10.0.0.2", "example.test", A), "NXDomain");
    assert_eq!(ask("10.0.0.2", "web.net", A), "NoError 10.0.0.2");
    assert_eq!(one.load(Ordering::SeqCst), 0);
}

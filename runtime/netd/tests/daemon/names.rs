//! What members ask about each other.

use std::time::Duration;

use hickory_proto::rr::RecordType::{A, AAAA, AXFR, MX, PTR};

use crate::support::{ask, member, net, query, send, send_tcp, with_edns, words};

#[test]
fn members_find_each_other() {
    let Some(net) = net() else { return };
    let web = net.join(&["web", "www", "0123456789ab"], &["10.0.0.2", "fd00::2"]);
    let mut db = net.join(&["db", "www"], &["10.0.0.3"]);
    for (name, kind, expected) in [
        ("web", A, "NoError 10.0.0.2"),
        ("WEB", A, "NoError 10.0.0.2"),
        ("web.net", A, "NoError 10.0.0.2"),
        ("0123456789ab", AAAA, "NoError fd00::2"),
        ("db", AAAA, "NoError"),
        ("db", MX, "NoError"),
        ("db", AXFR, "Refused"),
        ("nosuch", A, "NXDomain"),
        ("3.0.0.10.in-addr.arpa", PTR, "NoError db.net."),
        ("9.0.0.10.in-addr.arpa", PTR, "NXDomain"),
    ] {
        assert_eq!(ask("10.0.0.2", name, kind), expected, "{name} {kind}");
        assert_eq!(
            ask("fd00::2", name, kind),
            expected,
            "{name} {kind} over IPv6"
        );
        let over_tcp = words(send_tcp("10.0.0.3", &query(name, kind)));
        assert_eq!(over_tcp, expected, "{name} {kind} over TCP");
    }
    // Both behind one name, each first in turn.
    let mut turns: Vec<_> = (0..2).map(|_| ask("10.0.0.2", "www", A)).collect();
    turns.sort();
    assert_eq!(
        turns,
        ["NoError 10.0.0.2 10.0.0.3", "NoError 10.0.0.3 10.0.0.2"]
    );
    // The host is served, strangers are not.
    assert_eq!(ask("10.0.0.1", "db", A), "NoError 10.0.0.3");
    let patience = Duration::from_millis(300);
    assert!(send("10.0.0.99", &query("db", A), patience).is_none());
    assert!(send_tcp("10.0.0.99", &query("db", A)).is_none());
    // Changed, and gone.
    db.update(member(&["sql"], &["10.0.0.4"])).unwrap();
    assert_eq!(ask("10.0.0.2", "db", A), "NXDomain");
    assert_eq!(ask("10.0.0.4", "sql", A), "NoError 10.0.0.4");
    let error = db.update(member(&["a b"], &[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the name server of network net refuses: \"a b\" can't be a name in DNS"
    );
    assert_eq!(ask("10.0.0.4", "sql", A), "NoError 10.0.0.4");
    drop(web);
    crate::support::until("web is gone", || ask("10.0.0.4", "web", A) == "NXDomain");
    assert!(send("10.0.0.2", &query("sql", A), patience).is_none());
}

#[test]
fn many_addresses_are_cut_over_udp() {
    let Some(net) = net() else { return };
    let all: Vec<_> = (1..=100)
        .map(|n| net.join(&["all"], &[&format!("10.0.1.{n}")]))
        .collect();
    let plain = send("10.0.1.1", &query("all", A), Duration::from_secs(5)).unwrap();
    assert!(plain.truncation && (20..32).contains(&plain.answers.len()));
    let larger = with_edns(query("all", A), 4096);
    let larger = send("10.0.1.1", &larger, Duration::from_secs(5)).unwrap();
    assert!(larger.truncation && (60..80).contains(&larger.answers.len()));
    let whole = send_tcp("10.0.1.1", &query("all", A)).unwrap();
    assert!(!whole.truncation);
    assert_eq!(whole.answers.len(), all.len());
}

#[test]
fn addresses_may_come_after_the_start() {
    let Some(mut net) = net() else { return };
    // 172.16.0.1: on no link yet, as a bridge that is being made.
    net.config.listen = vec!["172.16.0.1".parse().unwrap(), "fd01::1".parse().unwrap()];
    let _member = net.join(&["a"], &["172.16.0.2"]);
    crate::support::add_address4("lo:2", [172, 16, 0, 1]);
    let socket = std::net::UdpSocket::bind("172.16.0.2:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let bytes = query("a", A).to_vec().unwrap();
    socket.send_to(&bytes, "172.16.0.1:53").unwrap();
    let (size, from) = socket.recv_from(&mut [0; 512]).unwrap();
    assert_eq!(
        (size, from.to_string()),
        (bytes.len() + 16, "172.16.0.1:53".into())
    );
}

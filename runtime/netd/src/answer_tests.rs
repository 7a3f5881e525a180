//! Queries and what becomes of them.

use std::net::Ipv4Addr;

use isola_net::daemon::Registration;

use super::*;

fn table() -> Table {
    let mut table = Table::default();
    for (id, names, addresses) in [
        (
            1,
            vec!["web", "www", "0123456789ab"],
            vec!["10.0.0.2", "fd00::2"],
        ),
        (2, vec!["db", "db.example"], vec!["10.0.0.3"]),
        (3, vec!["six"], vec!["fd00::4"]),
    ] {
        let member = Registration {
            instance: id.to_string(),
            names: names.into_iter().map(Into::into).collect(),
            addresses: addresses
                .into_iter()
                .map(|text: &str| text.parse().unwrap())
                .collect(),
            ..Registration::default()
        };
        table.insert(id, member).unwrap();
    }
    table
}

fn config(internal: bool) -> NetdConfig {
    NetdConfig {
        network: "Net".into(),
        listen: vec!["10.0.0.1".parse().unwrap()],
        subnets: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
        internal,
        resolvers: "/etc/resolv.conf".into(),
    }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let labels = name.split('.').filter(|label| !label.is_empty());
    let name = Name::from_labels(labels.map(str::as_bytes)).unwrap();
    message.add_query(Query::query(name, kind));
    message
}

fn from(source: &str) -> IpAddr {
    source.parse().unwrap()
}

fn told(message: &Message, transport: Transport, table: &Table, internal: bool) -> String {
    told_to("10.0.0.2", message, transport, table, internal)
}

fn told_to(
    source: &str,
    message: &Message,
    transport: Transport,
    table: &Table,
    internal: bool,
) -> String {
    match answer(
        &message.to_vec().unwrap(),
        from(source),
        transport,
        table,
        &config(internal),
    ) {
        Step::Drop => "drop".into(),
        Step::Forward {
            limit,
            outside: true,
            ..
        } => format!("forward {limit}"),
        Step::Forward { outside: false, .. } => "other networks".into(),
        Step::Reply(bytes) => {
            let reply = Message::from_vec(&bytes).unwrap();
            assert_eq!(reply.id, message.id);
            assert_eq!(reply.message_type, MessageType::Response);
            let mut text = format!("{:?}", reply.response_code);
            if reply.truncation {
                text += " cut";
            }
            for record in &reply.answers {
                assert_eq!(record.ttl, TTL);
                text += &format!(" {}", record.data);
            }
            text
        }
    }
}

#[test]
fn names_and_addresses() {
    use RecordType::{A, AAAA, ANY, AXFR, DS, MX, NS, PTR, SOA, TXT};
    let table = table();
    for (name, kind, expected) in [
        ("web", A, "NoError 10.0.0.2"),
        ("WeB", A, "NoError 10.0.0.2"),
        ("web", AAAA, "NoError fd00::2"),
        ("www", A, "NoError 10.0.0.2"),
        ("0123456789ab", A, "NoError 10.0.0.2"),
        ("web.net", A, "NoError 10.0.0.2"),
        ("web.NET", A, "NoError 10.0.0.2"),
        ("db.example", A, "NoError 10.0.0.3"),
        ("db.example.net", A, "NoError 10.0.0.3"),
        ("web", ANY, "NoError 10.0.0.2 fd00::2"),
        // There, but without such a record.
        ("db", AAAA, "NoError"),
        ("six", A, "NoError"),
        ("web", MX, "NoError"),
        ("web", AXFR, "Refused"),
        // Not there.
        ("nosuch", A, "NXDomain"),
        ("nosuch", TXT, "NXDomain"),
        ("", A, "NXDomain"),
        ("nosuch.net", A, "forward 512"),
        ("webnet", A, "NXDomain"),
        ("x.web", A, "forward 512"),
        ("example.com", A, "forward 512"),
        ("example.com", AXFR, "Refused"),
        ("com", NS, "forward 512"),
        ("com", DS, "forward 512"),
        ("", SOA, "forward 512"),
        // Reverse.
        ("2.0.0.10.in-addr.arpa", PTR, "NoError web.Net."),
        ("2.0.0.10.IN-ADDR.ARPA", PTR, "NoError web.Net."),
        ("2.0.0.10.in-addr.arpa", A, "NoError"),
        ("9.0.0.10.in-addr.arpa", PTR, "NXDomain"),
        ("0.0.10.in-addr.arpa", PTR, "forward 512"),
        ("1.1.1.1.in-addr.arpa", PTR, "forward 512"),
        (
            "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            PTR,
            "NoError web.Net.",
        ),
        ("300.0.0.10.in-addr.arpa", PTR, "forward 512"),
    ] {
        let got = told(&query(name, kind), Transport::Udp, &table, false);
        assert_eq!(got, expected, "{name} {kind}");
        let inside = told(&query(name, kind), Transport::Udp, &table, true);
        let expected = expected.replace("forward 512", "NXDomain");
        assert_eq!(inside, expected, "{name} {kind} in an internal network");
    }
}

#[test]
fn members_of_several_networks() {
    use RecordType::{A, PTR};
    let mut table = table();
    for (id, address, outside) in [(4, "10.0.0.5", false), (5, "10.0.0.6", true)] {
        let member = Registration {
            addresses: vec![from(address)],
            others: vec![from("10.1.0.1")],
            outside,
            ..Registration::default()
        };
        table.insert(id, member).unwrap();
    }
    // In a network with a way out: who has no other network, and who has. In an
    // internal one: who has no other, who has internal ones, who has one with a way out.
    for (name, kind, recursion, expected) in [
        ("web", A, true, ["NoError 10.0.0.2"; 5]),
        ("web", A, false, ["NoError 10.0.0.2"; 5]),
        ("9.0.0.10.in-addr.arpa", PTR, true, ["NXDomain"; 5]),
        ("9.0.0.10.in-addr.arpa", PTR, false, ["NXDomain"; 5]),
        (
            "other",
            A,
            true,
            [
                "NXDomain",
                "other networks",
                "NXDomain",
                "other networks",
                "other networks",
            ],
        ),
        ("other", A, false, ["Refused"; 5]),
        (
            "other.test",
            A,
            true,
            [
                "forward 512",
                "forward 512",
                "NXDomain",
                "other networks",
                "forward 512",
            ],
        ),
        ("other.test", A, false, ["Refused"; 5]),
        (
            "2.0.1.10.in-addr.arpa",
            PTR,
            true,
            [
                "forward 512",
                "forward 512",
                "NXDomain",
                "other networks",
                "forward 512",
            ],
        ),
    ] {
        let mut message = query(name, kind);
        message.metadata.recursion_desired = recursion;
        let askers = [
            ("10.0.0.2", false),
            ("10.0.0.5", false),
            ("10.0.0.2", true),
            ("10.0.0.5", true),
            ("10.0.0.6", true),
        ];
        let told = askers
            .map(|(source, internal)| told_to(source, &message, Transport::Udp, &table, internal));
        assert_eq!(told, expected, "{name} {kind} {recursion}");
    }
}

#[test]
fn what_is_no_plain_query() {
    let table = table();
    let with = |change: &dyn Fn(&mut Message)| {
        let mut message = query("web", RecordType::A);
        change(&mut message);
        told(&message, Transport::Udp, &table, false)
    };
    assert_eq!(
        with(&|m| m.metadata.message_type = MessageType::Response),
        "drop"
    );
    assert_eq!(with(&|m| m.metadata.op_code = OpCode::Update), "NotImp");
    assert_eq!(with(&|m| m.metadata.op_code = OpCode::Notify), "NotImp");
    assert_eq!(
        with(&|m| m.queries[0].query_class = DNSClass::CH),
        "Refused"
    );
    assert_eq!(with(&|m| m.queries.clear()), "FormErr");
    assert_eq!(with(&|m| m.queries.push(m.queries[0].clone())), "FormErr");
    let record = Record::from_rdata(Name::root(), 1, RData::A(A(Ipv4Addr::LOCALHOST)));
    assert_eq!(with(&|m| m.answers.push(record.clone())), "FormErr");
    let newer = |m: &mut Message| {
        let mut edns = Edns::new();
        edns.set_version(1);
        m.set_edns(edns);
    };
    // 16 is this, too; in an answer with EDNS it means BADVERS (RFC 6891, 9).
    assert_eq!(with(&newer), "BADSIG");
}

#[test]
fn packets_that_claim_more_than_they_hold() {
    let table = table();
    let bytes = query("web", RecordType::A).to_vec().unwrap();
    for length in 0..bytes.len() {
        let step = answer(
            &bytes[..length],
            from("10.0.0.2"),
            Transport::Udp,
            &table,
            &config(false),
        );
        assert_eq!(step == Step::Drop, length < HEADER, "{length}");
    }
    for count in [4, 6, 8, 10] {
        let mut bytes = bytes.clone();
        bytes[count..count + 2].copy_from_slice(&[0xff, 0xff]);
        let Step::Reply(reply) = answer(
            &bytes,
            from("10.0.0.2"),
            Transport::Udp,
            &table,
            &config(false),
        ) else {
            panic!("no reply");
        };
        assert_eq!((reply.len(), reply[3] & 0xf), (HEADER, 1), "{count}");
    }
}

#[test]
fn answers_fit_what_the_asker_takes() {
    let mut table = Table::default();
    for id in 0..200u8 {
        let member = Registration {
            names: vec!["all".into()],
            addresses: vec![[10, 0, 0, id].into()],
            ..Registration::default()
        };
        table.insert(id.into(), member).unwrap();
    }
    for (payload, transport, most) in [
        (None, Transport::Udp, 512),
        (Some(100), Transport::Udp, 512),
        (Some(1000), Transport::Udp, 1000),
        (Some(4096), Transport::Udp, 1232),
        (None, Transport::Tcp, 65_535),
    ] {
        let mut message = query("all", RecordType::A);
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        let bytes = message.to_vec().unwrap();
        let Step::Reply(bytes) =
            answer(&bytes, from("10.0.0.2"), transport, &table, &config(false))
        else {
            panic!("no reply");
        };
        let reply = Message::from_vec(&bytes).unwrap();
        let all = transport == Transport::Tcp;
        assert!(bytes.len() <= most, "{} of {most}", bytes.len());
        assert!(all || bytes.len() + 30 > most, "{} of {most}", bytes.len());
        assert_eq!(reply.truncation, !all);
        assert_eq!(reply.answers.len() == 200, all);
        assert_eq!(reply.edns.is_some(), payload.is_some());
    }
}

#[test]
fn failures_answer_the_question() {
    let bytes = query("example.com", RecordType::A).to_vec().unwrap();
    let reply = failure(&bytes, ResponseCode::ServFail).unwrap();
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.response_code, ResponseCode::ServFail);
    assert_eq!(reply.queries[0].name().to_string(), "example.com.");
}

//! What members of a network ask its name server.

use std::net::IpAddr;

use isola_net::daemon::{NetdConfig, Registration};
use isola_netd::answer::{HEADER, ResponseCode, Step, Transport, answer, failure};
use isola_netd::table::Table;

use super::{Run, Target};

pub(crate) fn target() -> Target {
    let seeds = [
        &b"\x01\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01"[..],
        b"\x01\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03web\x03net\x00\x00\x1c\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00",
        b"\x01\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x012\x010\x010\x0210\x07in-addr\x04arpa\x00\x00\x0c\x00\x01",
        b"\x01\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\xff\x00\x01",
    ];
    Target {
        name: "dns",
        seeds: seeds.iter().map(|seed| seed.to_vec()).collect(),
        make: || {
            let (table, config) = network();
            Box::new(move |input: &[u8]| run(input, &table, &config)) as Run
        },
        fix: super::nothing,
    }
}

fn network() -> (Table, NetdConfig) {
    let mut table = Table::default();
    for number in 2..100 {
        let member = Registration {
            instance: String::new(),
            names: vec![format!("m{number}"), "web".into()],
            addresses: vec![IpAddr::from([10, 0, 0, number])],
            dns: Vec::new(),
            others: Vec::new(),
            outside: number % 2 == 0,
        };
        table
            .insert(number.into(), member)
            .expect("a plain member is taken");
    }
    let config = NetdConfig {
        network: "net".into(),
        listen: Vec::new(),
        subnets: Vec::new(),
        internal: false,
        resolvers: "/etc/resolv.conf".into(),
    };
    (table, config)
}

/// An answer has the query's number, is marked as an answer, and is no larger than
/// the transport takes.
fn run(input: &[u8], table: &Table, config: &NetdConfig) -> String {
    let mut words = String::new();
    // Even members may be told of the world outside, odd ones may not.
    let asker = IpAddr::from([10, 0, 0, 2 + input.last().copied().unwrap_or(0) % 2]);
    for (transport, most) in [(Transport::Udp, 1232), (Transport::Tcp, 65_535)] {
        words += match answer(input, asker, transport, table, config) {
            Step::Drop => "drop ".into(),
            Step::Reply(reply) => {
                assert!((HEADER..=most).contains(&reply.len()));
                assert_eq!(reply[..2], input[..2]);
                assert_ne!(reply[2] & 0x80, 0);
                let code = char::from(b'a' + (reply[3] & 0xf));
                let many = if reply[7] > 1 { "many" } else { "few" };
                format!("reply {code} {many} ")
            }
            Step::Forward { question_end, .. } => {
                assert!((HEADER..=input.len()).contains(&question_end));
                let refused =
                    failure(input, ResponseCode::ServFail).expect("it was decoded before");
                assert_eq!(refused[3] & 0xf, 2);
                "forward ".into()
            }
        }
        .as_str();
    }
    words
}

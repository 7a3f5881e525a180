//! Packets and messages that are none.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::rr::RecordType::{A, PTR};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::support::{ask, net, query, with_edns};

/// A small generator (xorshift), so that a run can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (limit as u64)).unwrap()
    }
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let place = random.below(bytes.len().max(1));
        match random.below(5) {
            0 => bytes.truncate(place),
            1 => bytes.extend_from_within(place.min(bytes.len())..),
            2 => bytes.insert(place.min(bytes.len()), [0, 0xff, 0xc0, 63][random.below(4)]),
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = u8::try_from(random.below(256)).unwrap();
                }
            }
        }
    }
    bytes.truncate(5000);
}

#[test]
fn malformed_packets_change_nothing() {
    let Some(net) = net() else { return };
    let _web = net.join(&["web"], &["10.0.0.2"]);
    let pid = net.process();
    let socket = UdpSocket::bind("10.0.0.2:0").unwrap();
    socket.connect("10.0.0.1:53").unwrap();
    socket.set_nonblocking(true).unwrap();
    let seeds: Vec<Vec<u8>> = [
        query("web", A),
        query("2.0.0.10.in-addr.arpa", PTR),
        query("www.example.test", A),
        with_edns(query("web.net", A), 4096),
    ]
    .iter()
    .map(|message| message.to_vec().unwrap())
    .collect();
    let mut random = Random(0x15_01a);
    let mut buffer = [0; 65_535];
    let mut answered = 0;
    for round in 0..6000 {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        mutate(&mut random, &mut bytes);
        let _ = socket.send(&bytes);
        if let Ok(size) = socket.recv(&mut buffer) {
            assert!(size >= 12 && buffer[2] & 0x80 != 0);
            answered += 1;
        }
        if round % 1000 == 0 {
            assert_eq!(ask("10.0.0.2", "web", A), "NoError 10.0.0.2");
        }
    }
    assert!(answered > 1000, "{answered}");
    assert_eq!(ask("10.0.0.2", "web", A), "NoError 10.0.0.2");
    assert_eq!(net.process(), pid);
    let kept = crate::figures::private_memory(pid);
    assert!(kept < 16 << 20, "{kept} bytes");
}

#[test]
fn connections_that_say_nothing_are_few_and_end() {
    let Some(net) = net() else { return };
    let _web = net.join(&["web"], &["10.0.0.1"]);
    let mut silent: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect("10.0.0.1:53").unwrap())
        .collect();
    // Too long a query, and one that never ends.
    silent[0].write_all(&[0xff, 0xff, 1]).unwrap();
    silent[1].write_all(&[0, 30, 1]).unwrap();
    assert_eq!(ask("10.0.0.1", "web", A), "NoError 10.0.0.1");
    crate::support::until("most are closed", || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", net.process()));
        fds.unwrap().count() < 40
    });
}

#[test]
fn strangers_at_the_door_change_nothing() {
    let Some(net) = net() else { return };
    let _web = net.join(&["web"], &["10.0.0.2"]);
    let pid = net.process();
    let address = SocketAddrUnix::new(net.dir.path().join("netd.sock")).unwrap();
    let connect = || {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        let timeout = Some(Duration::from_secs(5));
        let kind = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&socket, kind, timeout).unwrap();
        socket
    };
    for (message, expected) in [
        (r#"{"hello":{"version":1}}"#, r#""ok""#),
        (r#"{"hello":{"version":2}}"#, "version 1, not 2"),
        (
            r#"{"register":{"instance":"x","names":[],"addresses":[],"dns":[]}}"#,
            "no hello",
        ),
        ("nonsense", "malformed"),
        (&"x".repeat(70_000), "malformed"),
        ("\u{0}", "malformed"),
    ] {
        let socket = connect();
        rustix::net::send(&socket, message.as_bytes(), SendFlags::empty()).unwrap();
        let mut buffer = [0; 1000];
        let size = isola_net::daemon::receive(&socket, &mut buffer).unwrap();
        let text = String::from_utf8_lossy(size.unwrap().0).into_owned();
        assert!(text.contains(expected), "{text}");
    }
    // Never a word.
    let _silent: Vec<_> = (0..50).map(|_| connect()).collect();
    assert_eq!(ask("10.0.0.2", "web", A), "NoError 10.0.0.2");
    assert_eq!(net.process(), pid);
}

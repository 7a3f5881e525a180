//! Published ports.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use isola_net::daemon::{Listener, Protocol};

use crate::support::{member, net, until};

fn listener(protocol: Protocol, socket: impl Into<OwnedFd>, target: &str) -> Listener {
    Listener {
        protocol,
        socket: socket.into(),
        target: target.parse().unwrap(),
    }
}

#[test]
fn connections_from_ipv6_reach_ipv4() {
    let Some(net) = net() else { return };
    // Says what it got only after the other side has ended: needs half-closed connections.
    let server = TcpListener::bind("10.0.0.2:8080").unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut text = Vec::new();
                stream.read_to_end(&mut text).unwrap();
                text.reverse();
                stream.write_all(&text).unwrap();
            });
        }
    });
    let near = TcpListener::bind("[::1]:80").unwrap();
    let held = near.try_clone().unwrap();
    let relays = vec![listener(Protocol::Tcp, near, "10.0.0.2:8080")];
    let mut joined = net
        .try_join(member(&["web"], &["10.0.0.2"]), relays)
        .unwrap();
    let talk = || {
        let mut stream = TcpStream::connect("[::1]:80").unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        got.reverse();
        assert!(got == sent);
    };
    talk();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(talk);
        }
    });
    // A target where nobody listens: the connection is reset, as by the kernel.
    let other = TcpListener::bind("[::1]:81").unwrap();
    let relays = vec![
        listener(Protocol::Tcp, held.try_clone().unwrap(), "10.0.0.2:8080"),
        listener(Protocol::Tcp, other, "10.0.0.2:8081"),
    ];
    joined.relay(relays).unwrap();
    let mut stream = TcpStream::connect("[::1]:81").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    talk();
    // What it registered is there again after the process died.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(net.process()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    until("no process", || net.processes().is_empty());
    joined.rejoin().unwrap();
    talk();
    // With the member, its connections end.
    let _other = net.join(&["other"], &["10.0.0.3"]);
    let mut open = TcpStream::connect("[::1]:80").unwrap();
    open.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    open.write_all(b"x").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(joined);
    assert!(matches!(open.read(&mut [0]), Ok(0) | Err(_)));
    drop(held);
    until("nobody listens", || TcpStream::connect("[::1]:80").is_err());
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let Some(net) = net() else { return };
    let server = UdpSocket::bind("10.0.0.2:5353").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok((size, from)) = server.recv_from(&mut buffer) {
            server.send_to(&buffer[..size], from).unwrap();
        }
    });
    let relays = ["0.0.0.0:54", "[::]:55"].map(|near| {
        let near = UdpSocket::bind(near).unwrap();
        listener(Protocol::Udp, near, "10.0.0.2:5353")
    });
    let _joined = net
        .try_join(member(&["dns"], &["10.0.0.2"]), relays.into())
        .unwrap();
    // One source and two addresses: the kernel would answer from the first of them.
    for (source, asked) in [
        ("127.0.0.1:0", ["127.0.0.1:54", "127.0.0.2:54"]),
        ("127.0.0.1:0", ["127.0.0.1:55", "127.0.0.3:55"]),
        ("[::1]:0", ["[::1]:55", "[::1]:55"]),
    ] {
        let source = UdpSocket::bind(source).unwrap();
        source
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        for asked in asked {
            source.send_to(asked.as_bytes(), asked).unwrap();
            let mut buffer = [0; 100];
            let (size, from) = source.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..size], asked.as_bytes());
            assert_eq!(from.to_string(), asked);
        }
    }
}

#[test]
fn packets_find_back_to_their_source() {
    let Some(net) = net() else { return };
    let server = UdpSocket::bind("10.0.0.2:5353").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((size, from)) = server.recv_from(&mut buffer) {
            buffer[..size].reverse();
            server.send_to(&buffer[..size], from).unwrap();
        }
    });
    let near = UdpSocket::bind("[::1]:53").unwrap();
    let relays = vec![listener(Protocol::Udp, near, "10.0.0.2:5353")];
    let _joined = net
        .try_join(member(&["dns"], &["10.0.0.2"]), relays)
        .unwrap();
    let to: SocketAddr = "[::1]:53".parse().unwrap();
    // More sources than sessions: old ones end, new ones work.
    let sources: Vec<_> = (0..300)
        .map(|_| UdpSocket::bind("[::1]:0").unwrap())
        .collect();
    for round in 0..2 {
        for (number, source) in sources.iter().enumerate() {
            source
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let sent = format!("{round} of {number}");
            source.send_to(sent.as_bytes(), to).unwrap();
            let mut buffer = [0; 100];
            let (size, from) = source.recv_from(&mut buffer).unwrap();
            let back: String = sent.chars().rev().collect();
            assert_eq!((&buffer[..size], from), (back.as_bytes(), to));
        }
    }
    let fds = std::fs::read_dir(format!("/proc/{}/fd", net.process())).unwrap();
    assert!(fds.count() < 300);
}

#[test]
fn many_sockets_and_wrong_ones() {
    let Some(net) = net() else { return };
    // More than one message carries.
    let relays: Vec<_> = (0..150)
        .map(|n| {
            let near = TcpListener::bind(("::1", 1000 + n)).unwrap();
            listener(Protocol::Tcp, near, "10.0.0.2:8080")
        })
        .collect();
    let _many = net
        .try_join(member(&["many"], &["10.0.0.2"]), relays)
        .unwrap();
    let server = TcpListener::bind("10.0.0.2:8080").unwrap();
    for port in [1000, 1063, 1064, 1149] {
        let _client = TcpStream::connect(("::1", port)).unwrap();
        server.accept().unwrap();
    }
    for (protocol, socket) in [
        (
            Protocol::Udp,
            OwnedFd::from(TcpListener::bind("[::1]:0").unwrap()),
        ),
        (
            Protocol::Tcp,
            OwnedFd::from(UdpSocket::bind("[::1]:0").unwrap()),
        ),
        (
            Protocol::Tcp,
            OwnedFd::from(std::fs::File::open("/dev/null").unwrap()),
        ),
    ] {
        let relays = vec![listener(protocol, socket, "10.0.0.2:80")];
        let error = net
            .try_join(member(&["x"], &[]), relays)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("refuses: cannot relay to 10.0.0.2:80: "),
            "{error}"
        );
    }
}

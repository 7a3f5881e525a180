//! A network for a test, and questions to it.
#![allow(unsafe_code)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use isola_net::daemon::{Error, Listener, Member, NetdConfig, Registration};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_isola-netd");
pub(crate) const GATEWAY: &str = "10.0.0.1";
pub(crate) const GATEWAY6: &str = "fd00::1";

/// A network: its folder, and its configuration.
pub(crate) struct Net {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: NetdConfig,
}

/// Moves this thread into a network namespace of its own; `None`, and a word, when
/// that can't be.
pub(crate) fn net() -> Option<Net> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return None;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    loopback_up();
    // On a loopback link, a prefix is local as a whole: 10.0.0.0/8.
    add_address4("lo:1", [10, 0, 0, 1]);
    for address in ["fd00::1", "fd00::2", "fd00::3"] {
        add_address6(address.parse().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let resolvers = dir.path().join("resolv.conf");
    std::fs::write(&resolvers, "nameserver 127.0.0.53\n").unwrap();
    Some(Net {
        config: NetdConfig {
            network: "net".into(),
            listen: vec![GATEWAY.parse().unwrap(), GATEWAY6.parse().unwrap()],
            subnets: vec!["10.0.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()],
            internal: false,
            resolvers,
        },
        dir,
    })
}

/// A second network on the same host, of the name `other`. Its prefix is another one,
/// so that what the host sends to its gateway comes from that gateway's address.
pub(crate) fn second(first: &Net) -> Net {
    add_address4("lo:2", [172, 16, 0, 1]);
    Net {
        dir: tempfile::tempdir().unwrap(),
        config: NetdConfig {
            network: "other".into(),
            listen: vec!["172.16.0.1".parse().unwrap()],
            subnets: vec!["172.16.0.0/16".parse().unwrap()],
            internal: false,
            resolvers: first.config.resolvers.clone(),
        },
    }
}

impl Net {
    pub(crate) fn try_join(
        &self,
        registration: Registration,
        listeners: Vec<Listener>,
    ) -> Result<Member, Error> {
        let program = Path::new(PROGRAM);
        Member::join(
            self.dir.path(),
            program,
            &self.config,
            registration,
            listeners,
        )
    }

    pub(crate) fn join(&self, names: &[&str], addresses: &[&str]) -> Member {
        self.try_join(member(names, addresses), Vec::new()).unwrap()
    }

    /// The processes that serve this network.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let dir = self.dir.path().to_str().unwrap().to_owned();
        let all = std::fs::read_dir("/proc").unwrap();
        all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
            .filter(|pid: &i32| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let mut words = line.split(|byte| *byte == 0);
                words.next() == Some(b"isola-netd") && words.next() == Some(dir.as_bytes())
            })
            .collect()
    }

    pub(crate) fn process(&self) -> i32 {
        let all = self.processes();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }
}

impl Drop for Net {
    /// A failed test leaves no process.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("netd.log"));
            eprintln!("log: {}", log.unwrap_or_default());
            for pid in self.processes() {
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

pub(crate) fn member(names: &[&str], addresses: &[&str]) -> Registration {
    Registration {
        instance: names.first().copied().unwrap_or_default().into(),
        names: names.iter().map(|name| (*name).into()).collect(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..Registration::default()
    }
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.message_type = MessageType::Query;
    message.metadata.op_code = OpCode::Query;
    message.metadata.recursion_desired = true;
    let labels = name.split('.').filter(|label| !label.is_empty());
    let name = Name::from_labels(labels.map(str::as_bytes)).unwrap();
    message.add_query(Query::query(name, kind));
    message
}

/// What is answered to a query from a source, over UDP; `None` when nothing is for
/// `patience`. Packets are lost: it asks again, as resolvers do.
pub(crate) fn send(source: &str, message: &Message, patience: Duration) -> Option<Message> {
    let source: IpAddr = source.parse().unwrap();
    let socket = UdpSocket::bind((source, 0)).unwrap();
    let again = Duration::from_secs(2).min(patience);
    socket.set_read_timeout(Some(again)).unwrap();
    let gateway = if source.is_ipv4() { GATEWAY } else { GATEWAY6 };
    let gateway: IpAddr = gateway.parse().unwrap();
    socket.connect((gateway, 53)).unwrap();
    let mut buffer = [0; 65_535];
    let end = Instant::now() + patience;
    let size = loop {
        socket.send(&message.to_vec().unwrap()).unwrap();
        match socket.recv(&mut buffer) {
            Ok(size) => break size,
            Err(_) if Instant::now() >= end => return None,
            Err(_) => {}
        }
    };
    let reply = Message::from_vec(&buffer[..size]).unwrap();
    assert_eq!(reply.id, message.id);
    assert_eq!(reply.queries, message.queries);
    Some(reply)
}

/// The same over TCP.
pub(crate) fn send_tcp(source: &str, message: &Message) -> Option<Message> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    let source = SocketAddr::new(source.parse().unwrap(), 0);
    rustix::net::bind(&socket, &source).unwrap();
    let gateway: SocketAddr = format!("{GATEWAY}:53").parse().unwrap();
    rustix::net::connect(&socket, &gateway).unwrap();
    let mut stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(Duration::from_secs(8)))
        .unwrap();
    let bytes = message.to_vec().unwrap();
    let mut packet = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    packet.extend(bytes);
    stream.write_all(&packet).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).ok()?;
    Some(Message::from_vec(&reply).unwrap())
}

/// An answer in words.
pub(crate) fn words(reply: Option<Message>) -> String {
    let Some(reply) = reply else {
        return "silence".into();
    };
    let mut text = format!("{:?}", reply.response_code);
    if reply.truncation {
        text += " cut";
    }
    for record in &reply.answers {
        text += &format!(" {}", record.data);
    }
    text
}

/// Asks over UDP, for up to eight seconds.
pub(crate) fn ask(source: &str, name: &str, kind: RecordType) -> String {
    words(send(source, &query(name, kind), Duration::from_secs(8)))
}

pub(crate) fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: all zeros are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request
}

fn loopback_up() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut request = request("lo");
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is a valid ifreq.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

pub(crate) fn add_address4(label: &str, address: [u8; 4]) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut request = request(label);
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain data of 16 bytes; the kernel reads the family first.
    request.ifr_ifru.ifru_addr =
        unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) };
    // SAFETY: the request is a valid ifreq.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR, &request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

pub(crate) fn add_address6(address: Ipv6Addr) {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    let request = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr {
            s6_addr: address.octets(),
        },
        ifr6_prefixlen: 64,
        // The loopback link is the first one of its namespace.
        ifr6_ifindex: 1,
    };
    // SAFETY: the request is a valid in6_ifreq.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR, &request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

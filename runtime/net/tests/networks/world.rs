//! A host, its neighbour and its containers, as network namespaces.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use isola_net::{Attached, Attachment, InstanceRef, Lease, Network, NetworkSpec, Networks};
use isola_netlink::{Route, Socket, Veth, configure, in_namespace};
use isola_proto::{Interface, Mac};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// The host's own address on the wire, and its neighbour's.
pub(crate) const HOST: &str = "192.0.2.1";
pub(crate) const NEIGHBOUR: &str = "192.0.2.2";
pub(crate) const HOST6: &str = "2001:db8::1";
pub(crate) const NEIGHBOUR6: &str = "2001:db8::2";

const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing has to come when nothing may.
const SILENCE: Duration = Duration::from_millis(400);

/// Runs a test as root of a host of its own.
pub(crate) fn on_a_host(test: impl FnOnce(World) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }
    std::thread::spawn(move || {
        enter_new();
        test(World::new());
    })
    .join()
    .unwrap();
}

pub(crate) fn enter_new() {
    // SAFETY: only the thread's network namespace changes.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
    // A new namespace copies this from the host's first one (see
    // net.core.devconf_inherit_init_net), where another engine may have set it.
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    let mut socket = Socket::route().unwrap();
    configure(&mut socket, &[]).unwrap();
}

fn namespace() -> OwnedFd {
    std::thread::spawn(|| {
        enter_new();
        std::fs::File::open("/proc/thread-self/ns/net")
            .unwrap()
            .into()
    })
    .join()
    .unwrap()
}

pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) networks: Networks,
    pub(crate) neighbour: OwnedFd,
}

/// An instance with its namespace.
pub(crate) struct Container {
    pub(crate) namespace: OwnedFd,
    pub(crate) lease: Lease,
    pub(crate) network: Network,
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let networks = Networks::open(root.path()).unwrap();
        let neighbour = namespace();
        let mac = Mac([2, 0, 0, 0, 0, 2]);
        let mut socket = Socket::route().unwrap();
        let wire = socket
            .add_veth(&Veth {
                name: "wire",
                master: None,
                mtu: None,
                peer: "wire",
                mac,
                namespace: neighbour.as_fd(),
            })
            .unwrap();
        for (address, length) in [(HOST, 24), (HOST6, 64)] {
            let net = format!("{address}/{length}").parse().unwrap();
            socket.add_address(wire, net).unwrap();
        }
        let interface = Interface {
            hardware: mac,
            name: "wire".to_owned(),
            mac: None,
            addresses: [(NEIGHBOUR, 24), (NEIGHBOUR6, 64)]
                .map(|(address, length)| format!("{address}/{length}").parse().unwrap())
                .to_vec(),
            gateways: Vec::new(),
            mtu: None,
            up: true,
        };
        let mut far = Socket::route_in(neighbour.as_fd()).unwrap();
        configure(&mut far, &[interface]).unwrap();
        World {
            root,
            networks,
            neighbour,
        }
    }

    pub(crate) fn network(&self, name: &str, change: impl FnOnce(&mut NetworkSpec)) -> Network {
        let mut spec = NetworkSpec {
            name: name.to_owned(),
            ..NetworkSpec::default()
        };
        change(&mut spec);
        self.networks.create(&spec).unwrap()
    }

    pub(crate) fn attach(
        &self,
        network: &Network,
        number: u32,
        asked: &Attachment,
    ) -> isola_net::Result<Attached> {
        self.networks
            .attach(network, &instance(number), asked, &|_| true)
    }

    pub(crate) fn container(&self, network: &Network, number: u32, ports: &[&str]) -> Container {
        let specs: Vec<_> = ports
            .iter()
            .flat_map(|text| isola_net::ports::parse(text).unwrap())
            .collect();
        // Held for the test's time.
        let held = isola_net::ports::reserve(&specs).unwrap();
        let asked = Attachment {
            ports: held.published.clone(),
            ..Attachment::default()
        };
        std::mem::forget(held);
        let attached = self.attach(network, number, &asked).unwrap();
        let namespace = namespace();
        let interface = isola_net::link::veth(&attached, namespace.as_fd(), "eth0", true).unwrap();
        let mut socket = Socket::route_in(namespace.as_fd()).unwrap();
        configure(&mut socket, &[interface]).unwrap();
        Container {
            namespace,
            lease: attached.lease,
            network: attached.network,
        }
    }

    /// Routes of the neighbour into a network, by the host.
    pub(crate) fn route_into(&self, network: &Network) {
        let mut socket = Socket::route_in(self.neighbour.as_fd()).unwrap();
        let wire = socket.link("wire").unwrap().unwrap().index;
        let route = Route {
            destination: network.v4().unwrap().subnet,
            gateway: Some(HOST.parse().unwrap()),
            index: Some(wire),
            table: 254,
        };
        socket.add_route(&route).unwrap();
    }
}

impl Drop for World {
    /// The host is gone with the test, its reservations in /run are not.
    fn drop(&mut self) {
        for network in self.networks.list().unwrap_or_default() {
            drop(self.networks.remove(&network, &|_| None, &|_| false));
        }
    }
}

pub(crate) fn instance(number: u32) -> InstanceRef {
    InstanceRef {
        id: format!("{number:064x}"),
        name: format!("i{number}"),
    }
}

impl Container {
    pub(crate) fn v4(&self) -> IpAddr {
        self.lease.ipv4.unwrap().into()
    }

    pub(crate) fn v6(&self) -> IpAddr {
        self.lease.ipv6.unwrap().into()
    }
}

/// Serves TCP for ever in a namespace: tells each client the address that it comes
/// from. Returns the port.
pub(crate) fn serve(namespace: &OwnedFd, address: &str, port: u16) -> u16 {
    let address: IpAddr = address.parse().unwrap();
    let listener = in_namespace(namespace.as_fd(), || TcpListener::bind((address, port)))
        .unwrap()
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let from = stream.peer_addr().unwrap().ip().to_string();
            drop(stream.write_all(from.as_bytes()));
        }
    });
    port
}

/// The same over UDP.
pub(crate) fn serve_udp(namespace: &OwnedFd, address: &str, port: u16) {
    let address: IpAddr = address.parse().unwrap();
    let socket = in_namespace(namespace.as_fd(), || UdpSocket::bind((address, port)))
        .unwrap()
        .unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(from.ip().to_string().as_bytes(), from));
        }
    });
}

fn within<T>(namespace: Option<&OwnedFd>, work: impl FnOnce() -> T) -> T {
    match namespace {
        Some(namespace) => in_namespace(namespace.as_fd(), work).unwrap(),
        None => work(),
    }
}

/// Connects from a namespace, or from the host itself; what the server saw.
pub(crate) fn reach(
    from: Option<&OwnedFd>,
    to: impl Into<IpAddr>,
    port: u16,
) -> Result<String, String> {
    ask(from, to.into(), port, PATIENCE)
}

/// Nothing answers.
pub(crate) fn silent(from: Option<&OwnedFd>, to: impl Into<IpAddr>, port: u16) -> bool {
    ask(from, to.into(), port, SILENCE).is_err()
}

fn ask(from: Option<&OwnedFd>, to: IpAddr, port: u16, time: Duration) -> Result<String, String> {
    let address = SocketAddr::new(to, port);
    let mut stream = within(from, || TcpStream::connect_timeout(&address, time))
        .map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(time)).unwrap();
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Ok(0) => Err("nothing was said".to_owned()),
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

/// The same over UDP.
pub(crate) fn reach_udp(from: Option<&OwnedFd>, to: &str, port: u16) -> Result<String, String> {
    let to: IpAddr = to.parse().unwrap();
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = within(from, || UdpSocket::bind(any)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
        .connect((to, port))
        .map_err(|error| error.to_string())?;
    socket.send(b"?").map_err(|error| error.to_string())?;
    let mut buffer = [0; 64];
    let length = socket
        .recv(&mut buffer)
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Names of the host's links.
pub(crate) fn links() -> Vec<String> {
    let links = Socket::route().unwrap().links().unwrap();
    links.into_iter().map(|link| link.name).collect()
}

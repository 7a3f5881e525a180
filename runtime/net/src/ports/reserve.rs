//! Holding the host's ports: a published port is bound on the host for as long as
//! its instance runs, so that one in use is found out before anything starts, and
//! no other program gets it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};

use super::{PortSpec, Protocol, Published};
use crate::daemon::Listener;
use crate::error::{Error, Kind, Result};
use crate::lease::Lease;

/// How often another port is tried when any will do.
const TRIES: u32 = 64;
/// Connections that wait for the relay.
const BACKLOG: i32 = 1024;

/// The ports of an instance, held on the host.
#[derive(Debug, Default)]
pub struct Reserved {
    /// What is published; goes into the lease ([`crate::Attachment::ports`]).
    pub published: Vec<Published>,
    /// The sockets that hold the ports. They must stay open.
    pub sockets: Vec<Held>,
}

/// A bound socket: listening for TCP. Close-on-exec.
#[derive(Debug)]
pub struct Held {
    /// The socket.
    pub socket: OwnedFd,
    /// Its address; an unspecified one means all of its family.
    pub address: SocketAddr,
    /// What is published by it.
    pub published: Published,
}

impl Reserved {
    /// Parts the sockets: those that the network's process has to relay, for
    /// [`crate::daemon::Member`], and those that only have to stay open.
    pub fn split(self, lease: &Lease) -> (Vec<Listener>, Vec<OwnedFd>) {
        let mut listeners = Vec::new();
        let mut others = Vec::new();
        // More programs serve IPv4 only than IPv6 only.
        let target = lease.addresses().first().copied();
        for held in self.sockets {
            match target.filter(|_| held.is_relayed(lease)) {
                Some(target) => listeners.push(Listener {
                    protocol: held.published.protocol,
                    target: SocketAddr::new(target, held.published.container),
                    socket: held.socket,
                }),
                None => others.push(held.socket),
            }
        }
        (listeners, others)
    }
}

impl Held {
    /// Do connections arrive at this socket, so that it must be relayed? The kernel
    /// translates everything else before: it can't from `::1`, nor from IPv6 to an
    /// instance without an IPv6 address.
    pub fn is_relayed(&self, lease: &Lease) -> bool {
        match self.address.ip() {
            IpAddr::V4(_) => lease.ipv4.is_none(),
            IpAddr::V6(ip) => lease.ipv6.is_none() || ip.is_unspecified() || ip.is_loopback(),
        }
    }
}

/// Binds the ports, all or none.
///
/// # Errors
/// [`Kind::Conflict`]: a port or every one of a choice is in use.
/// [`Kind::Invalid`]: the host has no such address.
pub fn reserve(specs: &[PortSpec]) -> Result<Reserved> {
    let mut reserved = Reserved::default();
    for spec in specs {
        let (published, sockets) = one(spec)?;
        reserved.published.push(published);
        reserved.sockets.extend(sockets);
    }
    Ok(reserved)
}

fn one(spec: &PortSpec) -> Result<(Published, Vec<Held>)> {
    let mut last = None;
    let choices: Vec<u16> = match &spec.host {
        Some(range) => range.clone().collect(),
        None => vec![0; TRIES as usize],
    };
    for port in &choices {
        match try_port(spec, *port) {
            Ok(done) => return Ok(done),
            Err((address, Errno::ADDRINUSE)) => last = Some((address, Errno::ADDRINUSE)),
            Err((address, errno)) => return Err(refused(spec, address, errno)),
        }
    }
    match (last, choices.len()) {
        (Some((address, errno)), 1) => Err(refused(spec, address, errno)),
        _ => Err(Error::conflict(format!(
            "all ports for port {}/{} of the instance are in use on the host",
            spec.container, spec.protocol
        ))),
    }
}

fn refused(spec: &PortSpec, address: SocketAddr, errno: Errno) -> Error {
    let what = format!("publish {address}/{}", spec.protocol);
    match errno {
        Errno::ADDRINUSE => {
            Error::conflict(format!("cannot {what}: the port is in use on the host"))
        }
        Errno::ADDRNOTAVAIL => Error::invalid(format!(
            "cannot {what}: the host has no address {}",
            address.ip()
        )),
        _ => {
            let error = std::io::Error::from(errno);
            Error::new(Kind::System, format!("cannot {what}: {error}"))
        }
    }
}

type Failed = (SocketAddr, Errno);

fn try_port(spec: &PortSpec, port: u16) -> std::result::Result<(Published, Vec<Held>), Failed> {
    let addresses: Vec<IpAddr> = match spec.address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let mut port = port;
    let mut sockets = Vec::new();
    for ip in addresses {
        let wanted = SocketAddr::new(ip, port);
        match hold(wanted, spec.protocol) {
            Ok((socket, address)) => {
                // The second family gets the port that the first got.
                port = address.port();
                sockets.push((socket, address));
            }
            // A host without IPv6, which nobody asked for by name.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
                if spec.address.is_none() && ip.is_ipv6() => {}
            Err(errno) => return Err((wanted, errno)),
        }
    }
    let published = Published {
        protocol: spec.protocol,
        address: spec.address,
        host: port,
        container: spec.container,
    };
    let held = |(socket, address)| Held {
        socket,
        address,
        published: published.clone(),
    };
    let sockets = sockets.into_iter().map(held).collect();
    Ok((published, sockets))
}

fn hold(
    address: SocketAddr,
    protocol: Protocol,
) -> std::result::Result<(OwnedFd, SocketAddr), Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Ended connections of the relay don't keep the port; a listener does.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    let bound = getsockname(&socket)?;
    let bound = SocketAddr::try_from(bound)?;
    Ok((socket, bound))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::ports::parse;

    #[test]
    fn ports_are_held_until_they_are_dropped() {
        for protocol in ["tcp", "udp"] {
            let specs = parse(&format!("127.0.0.1::80/{protocol}")).unwrap();
            let held = reserve(&specs).unwrap();
            let port = held.published[0].host;
            let free = || match protocol {
                "tcp" => TcpListener::bind(("127.0.0.1", port)).is_ok(),
                _ => UdpSocket::bind(("127.0.0.1", port)).is_ok(),
            };
            assert!(!free());
            let again = parse(&format!("127.0.0.1:{port}:80/{protocol}")).unwrap();
            let error = reserve(&again).unwrap_err();
            assert_eq!(error.kind, Kind::Conflict);
            assert_eq!(
                error.message,
                format!(
                    "cannot publish 127.0.0.1:{port}/{protocol}: the port is in use on the host"
                )
            );
            drop(held);
            assert!(free());
        }
    }

    #[test]
    fn a_choice_takes_the_first_free_port() {
        let held = reserve(&parse("127.0.0.1::1").unwrap()).unwrap();
        let port = held.published[0].host;
        let Some(next) = port.checked_add(20) else {
            return;
        };
        let pool = parse(&format!("127.0.0.1:{port}-{next}:80")).unwrap();
        let second = reserve(&pool).unwrap();
        let got = second.published[0].host;
        assert!(got > port && got <= next);
        assert_eq!(second.published[0].container, 80);
    }

    #[test]
    fn both_families_get_the_same_port() {
        let held = reserve(&parse("80").unwrap()).unwrap();
        let port = held.published[0].host;
        assert!(held.sockets.iter().all(|it| it.address.port() == port));
        assert!(held.sockets.iter().any(|it| it.address.is_ipv4()));
    }

    #[test]
    fn what_the_kernel_can_not_translate_is_relayed() {
        let lease = |ipv6: Option<&str>| Lease {
            instance: "1".to_owned(),
            names: Vec::new(),
            ipv4: Some(Ipv4Addr::new(10, 0, 0, 2)),
            ipv6: ipv6.map(|text| text.parse().unwrap()),
            mac: isola_proto::Mac([2, 0, 0, 0, 0, 1]),
            dns: Vec::new(),
            search: Vec::new(),
            ports: Vec::new(),
        };
        for (text, ipv6, relayed) in [
            ("80", None, 1),
            ("80", Some("fd00::2"), 1),
            ("127.0.0.1::80", None, 0),
            ("0.0.0.0::80", None, 0),
            ("[::1]::80", Some("fd00::2"), 1),
        ] {
            let held = match reserve(&parse(text).unwrap()) {
                Ok(held) => held,
                Err(error) if text.contains('[') => {
                    eprintln!("SKIPPED: no IPv6: {error}");
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let v6 = held.sockets.iter().any(|it| it.address.is_ipv6());
            let all = held.sockets.len();
            let (listeners, others) = held.split(&lease(ipv6));
            assert_eq!(listeners.len(), if v6 { relayed } else { 0 }, "{text}");
            assert_eq!(listeners.len() + others.len(), all, "{text}");
            let target = SocketAddr::from(([10, 0, 0, 2], 80));
            assert!(listeners.iter().all(|it| it.target == target));
        }
    }

    #[test]
    fn an_address_of_another_host_is_refused() {
        let error = reserve(&parse("192.0.2.1:80:80").unwrap()).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.message.ends_with("the host has no address 192.0.2.1"));
    }
}

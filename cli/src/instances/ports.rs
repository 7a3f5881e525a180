//! Ports of an instance as `ps`, `port` and `inspect` show them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use isola_net::Published;
use isola_runtime::engine::Instance;

use super::Links;

/// A port of an instance, and where the host leads to it from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    /// The instance's port.
    pub(crate) port: u16,
    /// `tcp` or `udp`; of ports that are only named also `sctp`.
    pub(crate) protocol: String,
    /// Address and port of the host, if it is published.
    pub(crate) host: Option<SocketAddr>,
}

impl Port {
    /// As `80/tcp`.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.port, self.protocol)
    }
}

/// Ports of an instance: published ones while it runs, and those that it names.
pub(crate) fn ports(instance: &Instance, links: &Links) -> Vec<Port> {
    let links = links.of(instance);
    let leased = links.iter().flat_map(|(_, lease)| &lease.ports);
    let mut ports: Vec<Port> = leased.flat_map(published).collect();
    let named = instance.record.workload.exposed_ports.iter();
    ports.extend(named.filter_map(|text| {
        let (port, protocol) = text.split_once('/')?;
        Some(Port {
            port: port.parse().ok()?,
            protocol: protocol.to_owned(),
            host: None,
        })
    }));
    ports.sort();
    ports.dedup();
    ports
}

/// One entry for each address; no address is all of both families.
fn published(port: &Published) -> Vec<Port> {
    let both = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let addresses = port.address.map_or(both.to_vec(), |address| vec![address]);
    let at = |address| Port {
        port: port.container,
        protocol: port.protocol.to_string(),
        host: Some(SocketAddr::new(address, port.host)),
    };
    addresses.into_iter().map(at).collect()
}

/// Some ports in a row.
struct Range<'a> {
    first: &'a Port,
    last: &'a Port,
}

impl<'a> Range<'a> {
    /// Takes in the next port, if it is next on both sides.
    fn extend(&mut self, next: &'a Port) -> bool {
        let step = |last: u16, next: u16| last.checked_add(1) == Some(next);
        let host = match (self.last.host, next.host) {
            (None, None) => true,
            (Some(last), Some(next)) => last.ip() == next.ip() && step(last.port(), next.port()),
            _ => false,
        };
        let is_next =
            host && self.last.protocol == next.protocol && step(self.last.port, next.port);
        if is_next {
            self.last = next;
        }
        is_next
    }

    fn text(&self) -> String {
        let range = |first: u16, last: u16| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let inner = range(self.first.port, self.last.port);
        let protocol = &self.first.protocol;
        match (self.first.host, self.last.host) {
            (Some(first), Some(last)) => {
                let outer = range(first.port(), last.port());
                format!("{}:{outer}->{inner}/{protocol}", bracketed(first.ip()))
            }
            _ => format!("{inner}/{protocol}"),
        }
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Docker's column PORTS: `0.0.0.0:8080-8081->80-81/tcp, 443/tcp`.
pub(crate) fn ports_text(ports: &[Port]) -> String {
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for port in ports {
        if !ranges.iter_mut().any(|range| range.extend(port)) {
            ranges.push(Range {
                first: port,
                last: port,
            });
        }
    }
    let texts: Vec<String> = ranges.iter().map(Range::text).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: &str, port: u16, protocol: &str) -> Port {
        Port {
            port,
            protocol: protocol.to_owned(),
            host: host.parse().ok(),
        }
    }

    #[test]
    fn ports_are_shown_as_docker_does() {
        let table: &[(&[Port], &str)] = &[
            (&[], ""),
            (&[port("", 80, "tcp")], "80/tcp"),
            (
                &[
                    port("0.0.0.0:8080", 80, "tcp"),
                    port("[::]:8080", 80, "tcp"),
                ],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                &[
                    port("0.0.0.0:8080", 80, "tcp"),
                    port("[::]:8080", 80, "tcp"),
                    port("0.0.0.0:8081", 81, "tcp"),
                    port("[::]:8081", 81, "tcp"),
                    port("", 82, "tcp"),
                    port("", 83, "tcp"),
                ],
                "0.0.0.0:8080-8081->80-81/tcp, [::]:8080-8081->80-81/tcp, 82-83/tcp",
            ),
            (
                &[
                    port("127.0.0.1:53", 53, "tcp"),
                    port("127.0.0.1:53", 53, "udp"),
                    port("127.0.0.1:99", 54, "tcp"),
                ],
                "127.0.0.1:53->53/tcp, 127.0.0.1:53->53/udp, 127.0.0.1:99->54/tcp",
            ),
        ];
        for (ports, text) in table {
            assert_eq!(ports_text(ports), *text);
        }
    }
}

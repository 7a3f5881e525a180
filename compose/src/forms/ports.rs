//! `[[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL]` with ranges.

use super::{Reader, complaint};
use crate::diagnostic::Place;
use crate::schema::Complaint;
use crate::yaml::{Data, Node};

/// Short forms become long ones, ranges several of them. A range for one target
/// is a pool: one port for each replica.
pub(crate) fn ports(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let Data::List(list) = node.data else {
        return Some(node);
    };
    let mut items = Vec::with_capacity(list.len());
    for (index, item) in list.into_iter().enumerate() {
        let place = item.place;
        let Some(text) = item.as_text().filter(|_| !item.is_null()) else {
            items.push(long(item));
            continue;
        };
        if reader.lenient && text.contains('$') {
            items.push(Node::text(text, place));
            continue;
        }
        match short(text) {
            Ok(ports) => items.extend(ports.into_iter().map(|port| port.node(place))),
            Err(Complaint { message, hint }) => {
                reader.within(&format!("[{index}]"), |reader| {
                    reader.complain(place, message, hint);
                });
            }
        }
    }
    Some(Node::new(Data::List(items), node.place))
}

/// What a long form leaves out.
fn long(mut node: Node) -> Node {
    let place = node.place;
    for (key, value) in [("mode", "ingress"), ("protocol", "tcp")] {
        if node.as_map().is_some() && node.get(key).is_none() {
            node.set(key, Node::text(value, place));
        }
    }
    node
}

struct Port {
    address: Option<String>,
    published: Option<String>,
    target: u16,
    protocol: String,
}

impl Port {
    fn node(self, place: Place) -> Node {
        let target = Node::new(Data::Int(self.target.into()), place);
        let mut node = Node::record(
            place,
            [
                ("mode", Node::text("ingress", place)),
                ("target", target),
                ("protocol", Node::text(self.protocol, place)),
            ],
        );
        for (key, value) in [("host_ip", self.address), ("published", self.published)] {
            if let Some(value) = value {
                node.set(key, Node::text(value, place));
            }
        }
        node
    }
}

fn wrong(text: &str) -> Complaint {
    complaint(
        format!("{text:?} is no port"),
        "ports are [[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL]: \"80\", \"8080:80\", \"127.0.0.1:53:53/udp\"",
    )
}

/// First and last of `N` or `N-M`.
pub(super) fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn short(text: &str) -> Result<Vec<Port>, Complaint> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        let message = format!("{protocol:?} is no protocol for ports");
        return Err(complaint(message, "there are tcp, udp and sctp"));
    }
    let (rest, target) = match ports.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, ports),
    };
    let (address, published) = match rest {
        None => (None, None),
        Some(rest) => match rest.rsplit_once(':') {
            // The colons of `[::1]` are not ours.
            Some((address, published)) if !rest.ends_with(']') => (Some(address), Some(published)),
            _ => (None, Some(rest)),
        },
    };
    let address = match address {
        Some(address) => Some(super::address(address)?),
        None => None,
    };
    let (first, last) = range(target)
        .filter(|(first, _)| *first > 0)
        .ok_or_else(|| wrong(text))?;
    let published = published.filter(|published| !published.is_empty());
    let Some(published) = published else {
        return Ok((first..=last)
            .map(|target| Port {
                address: address.clone(),
                published: None,
                target,
                protocol: protocol.clone(),
            })
            .collect());
    };
    let (from, to) = range(published).ok_or_else(|| wrong(text))?;
    if first == last {
        return Ok(vec![Port {
            address,
            published: Some(published.to_owned()),
            target: first,
            protocol,
        }]);
    }
    if to - from != last - first {
        return Err(complaint(
            format!(
                "{text:?}: {} ports can't be published on {}",
                last - first + 1,
                to - from + 1
            ),
            "both ranges must have the same length",
        ));
    }
    let pair = |(published, target): (u16, u16)| Port {
        address: address.clone(),
        published: Some(published.to_string()),
        target,
        protocol: protocol.clone(),
    };
    Ok((from..=to).zip(first..=last).map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match short(text) {
            Ok(ports) => {
                let ports: Vec<String> = ports
                    .iter()
                    .map(|port| {
                        format!(
                            "{}|{}|{}|{}",
                            port.address.as_deref().unwrap_or("-"),
                            port.published.as_deref().unwrap_or("-"),
                            port.target,
                            port.protocol
                        )
                    })
                    .collect();
                ports.join(" ")
            }
            Err(complaint) => complaint.message,
        }
    }

    #[test]
    fn short_forms() {
        for (text, expected) in [
            ("80", "-|-|80|tcp"),
            ("8080:80", "-|8080|80|tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1|8080|80|tcp"),
            ("127.0.0.1::80", "127.0.0.1|-|80|tcp"),
            ("[::1]:8080:80", "::1|8080|80|tcp"),
            ("53:53/udp", "-|53|53|udp"),
            ("53:53/UDP", "-|53|53|udp"),
            ("3000-3002", "-|-|3000|tcp -|-|3001|tcp -|-|3002|tcp"),
            ("9090-9091:8080-8081", "-|9090|8080|tcp -|9091|8081|tcp"),
            ("6005-6015:80", "-|6005-6015|80|tcp"),
            ("0:80", "-|0|80|tcp"),
            (
                "9090-9092:8080-8081",
                "\"9090-9092:8080-8081\": 2 ports can't be published on 3",
            ),
            ("80:a", "\"80:a\" is no port"),
            ("70000", "\"70000\" is no port"),
            ("0", "\"0\" is no port"),
            ("", "\"\" is no port"),
            ("90-80", "\"90-80\" is no port"),
            ("1.2.3:80:80", "\"1.2.3\" is no IP address"),
            ("80/icmp", "\"icmp\" is no protocol for ports"),
            ("80:80:80:80", "\"80:80\" is no IP address"),
        ] {
            assert_eq!(show(text), expected, "{text:?}");
        }
    }
}

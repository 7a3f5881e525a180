//! `[HOST-ADDRESS:][HOST-PORTS:]PORTS[/PROTOCOL]` (docker run, `--publish`).

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Protocol;
use crate::error::{Error, Result};

/// One port that is to be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address, as in [`super::Published`].
    pub address: Option<IpAddr>,
    /// The first free one of these becomes the host's port; `None` is any.
    pub host: Option<RangeInclusive<u16>>,
    /// The instance's port.
    pub container: u16,
}

/// Reads one `-p`. A range of host ports for one port of the instance is a choice;
/// else both ranges have the same length and belong together in their order.
///
/// # Errors
/// [`crate::Kind::Invalid`] with what is wrong.
pub fn parse(text: &str) -> Result<Vec<PortSpec>> {
    let bad = |why: &str| {
        Error::invalid(format!("cannot publish {text:?}: {why}"))
            .hint("as in 8080:80, 127.0.0.1:8080:80/udp, [::1]:8000-8010:80-90")
    };
    let (rest, protocol) = protocol(text).map_err(|why| bad(&why))?;
    let (address, ports) = address(rest).map_err(|why| bad(&why))?;
    let (host, container) = match ports.split_once(':') {
        Some((host, container)) => (host, container),
        None => ("", ports),
    };
    let container = range(container).map_err(|why| bad(&why))?;
    let host = match host {
        "" | "0" => None,
        host => Some(range(host).map_err(|why| bad(&why))?),
    };
    let count = container.len();
    if let Some(host) = &host
        && host.len() != count
        && count != 1
    {
        return Err(bad(&format!(
            "{} host ports for {count} ports of the instance",
            host.len()
        )));
    }
    let spec = |at: usize, container: u16| PortSpec {
        protocol,
        address,
        host: host.clone().map(|host| match count {
            1 => host,
            _ => {
                let port = *host.start() + at as u16;
                port..=port
            }
        }),
        container,
    };
    Ok(container
        .enumerate()
        .map(|(at, container)| spec(at, container))
        .collect())
}

/// What `-P` publishes: each exposed port (`80`, `53/udp`, `8000-8010/tcp`) on any
/// free port of the host.
///
/// # Errors
/// As [`parse`].
pub fn exposed(texts: &[String]) -> Result<Vec<PortSpec>> {
    let mut all: Vec<PortSpec> = Vec::new();
    for text in texts {
        if text.contains(':') {
            return Err(Error::invalid(format!("{text:?} is no exposed port")));
        }
        for spec in parse(text)? {
            if !all.contains(&spec) {
                all.push(spec);
            }
        }
    }
    Ok(all)
}

fn protocol(text: &str) -> std::result::Result<(&str, Protocol), String> {
    let Some((rest, name)) = text.rsplit_once('/') else {
        return Ok((text, Protocol::Tcp));
    };
    match name.to_ascii_lowercase().as_str() {
        "tcp" => Ok((rest, Protocol::Tcp)),
        "udp" => Ok((rest, Protocol::Udp)),
        "sctp" => Err("the protocol sctp can't be published".to_owned()),
        _ => Err(format!("no protocol {name:?}")),
    }
}

fn address(text: &str) -> std::result::Result<(Option<IpAddr>, &str), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, ports) = rest
            .split_once("]:")
            .ok_or("an address in brackets is followed by a colon and ports")?;
        let address: Ipv6Addr = address
            .parse()
            .map_err(|_| format!("{address:?} is no IPv6 address"))?;
        return if ports.matches(':').count() > 1 {
            Err("too many colons".to_owned())
        } else {
            Ok((Some(address.into()), ports))
        };
    }
    match text.matches(':').count() {
        0 | 1 => Ok((None, text)),
        2 => {
            let (address, ports) = text.split_once(':').unwrap_or(("", text));
            if address.is_empty() {
                return Ok((None, ports));
            }
            match address.parse() {
                Ok(address) => Ok((Some(IpAddr::V4(address)), ports)),
                Err(_) => Err(format!("{address:?} is no address of the host")),
            }
        }
        _ => Err("too many colons; an IPv6 address is put in brackets".to_owned()),
    }
}

fn range(text: &str) -> std::result::Result<RangeInclusive<u16>, String> {
    let port = |text: &str| {
        // parse() takes a sign.
        let digits = text.bytes().all(|c| c.is_ascii_digit());
        let port = text.parse::<u16>().ok().filter(|port| digits && *port > 0);
        port.ok_or_else(|| format!("{text:?} is no port between 1 and 65535"))
    };
    match text.split_once('-') {
        None => port(text).map(|port| port..=port),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            if first > last {
                return Err(format!("the range {text} goes backwards"));
            }
            Ok(first..=last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `address host-first..host-last container protocol`, `-` for none.
    fn shown(text: &str) -> Vec<String> {
        let one = |spec: PortSpec| {
            let address = spec.address.map_or("-".to_owned(), |it| it.to_string());
            let host = spec
                .host
                .map_or("-".to_owned(), |it| format!("{}..{}", it.start(), it.end()));
            format!("{address} {host} {} {}", spec.container, spec.protocol)
        };
        parse(text).unwrap().into_iter().map(one).collect()
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("80", &["- - 80 tcp"][..]),
            ("8080:80", &["- 8080..8080 80 tcp"]),
            ("8080:80/UDP", &["- 8080..8080 80 udp"]),
            (":80", &["- - 80 tcp"]),
            ("0:80", &["- - 80 tcp"]),
            ("127.0.0.1:8080:80", &["127.0.0.1 8080..8080 80 tcp"]),
            ("127.0.0.1::80/tcp", &["127.0.0.1 - 80 tcp"]),
            (":8080:80", &["- 8080..8080 80 tcp"]),
            ("0.0.0.0:8080:80", &["0.0.0.0 8080..8080 80 tcp"]),
            ("[::1]:8080:80", &["::1 8080..8080 80 tcp"]),
            ("[::]::80", &[":: - 80 tcp"]),
            ("[::1]:80", &["::1 - 80 tcp"]),
            ("6005-6015:80", &["- 6005..6015 80 tcp"]),
            (
                "7000-7001:80-81",
                &["- 7000..7000 80 tcp", "- 7001..7001 81 tcp"],
            ),
            ("80-81/udp", &["- - 80 udp", "- - 81 udp"]),
            ("65535:65535", &["- 65535..65535 65535 tcp"]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert_eq!(parse("1-65535:1-65535").unwrap().len(), 65535);
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_reason() {
        for (text, expected) in [
            ("", "\"\" is no port"),
            ("x", "\"x\" is no port"),
            ("0", "\"0\" is no port"),
            ("65536", "\"65536\" is no port"),
            ("+80", "\"+80\" is no port"),
            ("80:", "\"\" is no port"),
            ("80/sctp", "sctp can't be published"),
            ("80/", "no protocol \"\""),
            ("80/icmp", "no protocol \"icmp\""),
            ("8080:80-81", "1 host ports for 2 ports"),
            ("8000-8002:80-81", "3 host ports for 2 ports"),
            ("81-80", "goes backwards"),
            ("1-2-3", "\"2-3\" is no port"),
            ("example:80:80", "\"example\" is no address"),
            ("1.2.3:80:80", "\"1.2.3\" is no address"),
            ("::1:80:80", "put in brackets"),
            ("[::1]", "followed by a colon"),
            ("[::1]80", "followed by a colon"),
            ("[127.0.0.1]:80:80", "is no IPv6 address"),
            ("[::1]:1:2:3", "too many colons"),
            ("1:2:3:4", "too many colons"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(expected), "{error} / {expected}");
        }
    }

    #[test]
    fn exposed_ports_are_published_once_on_any_port() {
        let texts = ["80/tcp", "80", "53/udp"].map(str::to_owned);
        let all = exposed(&texts).unwrap();
        assert_eq!(all.len(), 2);
        assert!(
            all.iter()
                .all(|spec| spec.host.is_none() && spec.address.is_none())
        );
        assert!(exposed(&["1:2".to_owned()]).is_err());
    }
}

//! `-p`, `-P` and `--expose`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use isola_net::ports::{self, PortSpec, Protocol};

use super::network::refuse_together;
use super::{Context, conflict, invalid};
use crate::error::{Error, Kind, Result};
use crate::workload::model::Network;
use crate::workload::walls::Feature;

/// Ports of a workload.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// Those that the host leads to.
    pub(super) published: Vec<PortSpec>,
    /// Those that are only named.
    pub(super) exposed: Vec<String>,
}

pub(super) fn ports(cx: &Context<'_>, network: &Network) -> Result<Ports> {
    let options = cx.options;
    let mut exposed = BTreeSet::new();
    for text in &cx.image.exposed_ports {
        expose("the image's EXPOSE", text, &mut exposed)?;
    }
    for text in &options.expose {
        expose("--expose", text, &mut exposed)?;
    }
    let mut published = Vec::new();
    for text in &options.publish {
        published.extend(ports::parse(text).map_err(malformed)?);
    }
    let published = match network {
        Network::Bridged(_) => published,
        // The host's ports are its own: there is nothing to lead anywhere, and
        // Docker, too, only warns.
        Network::Host => Vec::new(),
        Network::None => {
            refuse_together(
                "none",
                &[
                    ("--publish", !options.publish.is_empty()),
                    ("--publish-all", options.publish_all),
                ],
                "there is no way to the instance",
            )?;
            Vec::new()
        }
        // Refused with the network.
        Network::Instance(_) => Vec::new(),
    };
    finish(cx, network, published, exposed)
}

/// Checks what is published together, and adds what `-P` asks for.
fn finish(
    cx: &Context<'_>,
    network: &Network,
    said: Vec<PortSpec>,
    exposed: BTreeSet<(u16, String)>,
) -> Result<Ports> {
    let has = |published: &[PortSpec], port: u16, protocol: &str| {
        let same =
            |spec: &PortSpec| spec.container == port && spec.protocol.to_string() == protocol;
        published.iter().any(same)
    };
    if let Some(text) = cx.options.publish.first() {
        cx.wall
            .require(Feature::PublishedPorts, &format!("--publish {text}"))?;
    }
    let mut published = distinct(said)?;
    if cx.options.publish_all && matches!(network, Network::Bridged(_)) {
        cx.wall.require(Feature::PublishedPorts, "--publish-all")?;
        for (port, protocol) in &exposed {
            if !has(&published, *port, protocol) {
                published.push(anywhere(*port, protocol)?);
            }
        }
    }
    let named = exposed.into_iter();
    let only_named = named.filter(|(port, protocol)| !has(&published, *port, protocol));
    let exposed = only_named.map(|(port, protocol)| format!("{port}/{protocol}"));
    Ok(Ports {
        exposed: exposed.collect(),
        published,
    })
}

/// A port behind any free port of the host.
fn anywhere(port: u16, protocol: &str) -> Result<PortSpec> {
    let known = [Protocol::Tcp, Protocol::Udp];
    let known = known
        .into_iter()
        .find(|known| known.to_string() == protocol);
    let protocol = known.ok_or_else(|| {
        let message = format!("--publish-all: {port}/{protocol} can't be published");
        Error::new(Kind::Unsupported, message).hint("only tcp and udp ports can")
    })?;
    Ok(PortSpec {
        protocol,
        address: None,
        host: None,
        container: port,
    })
}

/// What is wrong with one `--publish`.
fn malformed(error: isola_net::Error) -> Error {
    Error {
        hint: error.hint,
        ..Error::new(Kind::Invalid, format!("--publish: {}", error.message))
    }
}

/// Refuses one port of the host for two ports of the instance; what was said twice
/// counts once.
fn distinct(said: Vec<PortSpec>) -> Result<Vec<PortSpec>> {
    let mut kept: Vec<PortSpec> = Vec::new();
    for spec in said {
        if kept.contains(&spec) {
            continue;
        }
        // Of a choice of ports one that is free is taken.
        let one = |spec: &PortSpec| {
            let ports = spec
                .host
                .as_ref()
                .filter(|ports| ports.start() == ports.end());
            ports.map(|ports| *ports.start())
        };
        let clash = kept.iter().find(|other| {
            other.protocol == spec.protocol
                && one(other).is_some()
                && one(other) == one(&spec)
                && overlap(other.address, spec.address)
        });
        if let (Some(other), Some(port)) = (clash, one(&spec)) {
            return Err(conflict(format!(
                "--publish: port {port}/{} of the host is to lead to {} and to {}",
                spec.protocol, other.container, spec.container,
            )));
        }
        kept.push(spec);
    }
    Ok(kept)
}

/// Two addresses of the host share ports; none is all of both families.
fn overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (None, _) | (_, None) => true,
        (Some(one), Some(other)) => {
            let any = one.is_unspecified() || other.is_unspecified();
            one == other || any && one.is_ipv4() == other.is_ipv4()
        }
    }
}

/// Reads `PORT[-PORT][/PROTOCOL]`.
fn expose(flag: &str, text: &str, into: &mut BTreeSet<(u16, String)>) -> Result<()> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        let why = format!("no protocol {protocol:?}; there are tcp, udp and sctp");
        return Err(invalid(flag, text, why));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |digits: &str| {
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|port: &u16| plain && *port > 0)
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => {
            into.extend((first..=last).map(|port| (port, protocol.clone())));
            Ok(())
        }
        (Some(_), Some(_)) => Err(invalid(flag, text, "the range ends before it starts")),
        _ => Err(invalid(
            flag,
            text,
            "not of the form PORT[-PORT][/PROTOCOL] with ports from 1 to 65535",
        )),
    }
}

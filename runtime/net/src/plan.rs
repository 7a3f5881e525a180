//! From what the user says about a network to what it will be, without looking
//! at the host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::{first, is_usable};
use crate::error::{Error, Result};
use crate::record::Subnet;

/// A network as asked for; texts as the user wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// `--driver`: `bridge` or nothing.
    pub driver: Option<String>,
    /// `--subnet`, at most one per family.
    pub subnets: Vec<String>,
    /// `--gateway`, each in one of the subnets.
    pub gateways: Vec<String>,
    /// `--ip-range`, each in one of the subnets.
    pub ip_ranges: Vec<String>,
    /// `--ipv6`; implied by an IPv6 subnet.
    pub ipv6: bool,
    /// `--internal`.
    pub internal: bool,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`: `mtu`, `isolate`.
    pub options: BTreeMap<String, String>,
}

/// A checked specification; subnets that are to be chosen are absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) v4: Option<Subnet>,
    pub(crate) v6: Option<Subnet>,
    pub(crate) ipv6: bool,
    pub(crate) mtu: Option<u32>,
    pub(crate) isolate: bool,
}

/// Names that mean something else where a network's name is expected.
const RESERVED: [&str; 4] = ["none", "host", "container", "default"];
/// IPv4's and IPv6's smallest (RFC 791, RFC 8200), and what a bridge can have.
const MTU: [u32; 3] = [68, 1280, 65535];

/// Checks a name for a new network.
pub(crate) fn name(name: &str) -> Result<()> {
    let mut letters = name.bytes();
    let fits = letters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && letters.all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
        && name.len() <= 255;
    if !fits {
        return Err(Error::invalid(format!(
            "{name:?} is no name for a network: a letter or digit, then letters, digits, '_', '.', '-'"
        )));
    }
    if RESERVED.contains(&name) {
        return Err(Error::invalid(format!(
            "the name {name} is reserved and can't be given to a network"
        )));
    }
    Ok(())
}

/// Checks a specification, without its name.
pub(crate) fn plan(spec: &NetworkSpec) -> Result<Plan> {
    if let Some(driver) = spec.driver.as_deref().filter(|driver| *driver != "bridge") {
        return Err(Error::invalid(format!("no network driver {driver:?}"))
            .hint("the only driver is bridge"));
    }
    let mut parts: Vec<Subnet> = Vec::new();
    for text in &spec.subnets {
        let part = subnet(text)?;
        let taken = parts
            .iter()
            .find(|other| other.gateway.is_ipv4() == part.gateway.is_ipv4());
        if let Some(other) = taken {
            return Err(Error::invalid(format!(
                "a network has one subnet per family, not {} and {}",
                other.subnet, part.subnet
            )));
        }
        parts.push(part);
    }
    let mut seen = Vec::new();
    for text in &spec.gateways {
        let gateway: IpAddr = text
            .parse()
            .map_err(|_| Error::invalid(format!("{text:?} is no address of a gateway")))?;
        let part = home(&mut parts, &seen, text, "gateway", |part| {
            is_usable(part.subnet, gateway)
        })?;
        part.gateway = gateway;
        seen.push(part.subnet);
    }
    seen.clear();
    for text in &spec.ip_ranges {
        let range: IpNet = text
            .parse()
            .map_err(|_| Error::invalid(format!("{text:?} is no range of addresses")))?;
        let part = home(&mut parts, &seen, text, "range of addresses", |part| {
            part.subnet.contains(&range)
        })?;
        part.ip_range = Some(range.trunc());
        seen.push(part.subnet);
    }
    let ipv6 = spec.ipv6 || parts.iter().any(|part| part.gateway.is_ipv6());
    let (mtu, isolate) = options(&spec.options, ipv6)?;
    let family = |v4: bool| {
        parts
            .iter()
            .find(|part| part.gateway.is_ipv4() == v4)
            .cloned()
    };
    Ok(Plan {
        v4: family(true),
        v6: family(false),
        ipv6,
        mtu,
        isolate,
    })
}

/// A network's addresses must be given by their first one, and be enough for a
/// gateway and an instance.
fn subnet(text: &str) -> Result<Subnet> {
    let net: IpNet = text.parse().map_err(|_| {
        Error::invalid(format!("{text:?} is no subnet")).hint("as in 10.1.2.0/24 or fd00:1:2::/64")
    })?;
    if net.trunc() != net {
        return Err(
            Error::invalid(format!("the subnet {net} has bits after its prefix"))
                .hint(format!("did you mean {}?", net.trunc())),
        );
    }
    if net.max_prefix_len() - net.prefix_len() < 2 || net.prefix_len() < 8 {
        return Err(Error::invalid(format!(
            "the subnet {net} is too {}",
            if net.prefix_len() < 8 {
                "large"
            } else {
                "small"
            }
        )));
    }
    let address = net.addr();
    let v6_link = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if address.is_loopback() || address.is_multicast() || address.is_unspecified() || v6_link {
        return Err(Error::invalid(format!(
            "the addresses of {net} can't be given to instances"
        )));
    }
    Ok(Subnet {
        subnet: net,
        gateway: first(net),
        ip_range: None,
        automatic: false,
    })
}

/// The subnet that holds something, once each.
fn home<'a>(
    parts: &'a mut [Subnet],
    seen: &[IpNet],
    text: &str,
    what: &str,
    holds: impl Fn(&Subnet) -> bool,
) -> Result<&'a mut Subnet> {
    if parts.is_empty() {
        return Err(Error::invalid(format!(
            "the {what} {text} needs a --subnet"
        )));
    }
    let part = parts.iter_mut().find(|part| holds(part)).ok_or_else(|| {
        Error::invalid(format!("the {what} {text} is in no subnet of the network"))
    })?;
    if seen.contains(&part.subnet) {
        return Err(Error::invalid(format!(
            "the subnet {} has a second {what}, {text}",
            part.subnet
        )));
    }
    Ok(part)
}

fn options(options: &BTreeMap<String, String>, ipv6: bool) -> Result<(Option<u32>, bool)> {
    let (mut mtu, mut isolate) = (None, true);
    for (name, value) in options {
        match name.as_str() {
            "mtu" => {
                let least = if ipv6 { MTU[1] } else { MTU[0] };
                let number = value.parse().ok();
                mtu = number.filter(|mtu| (least..=MTU[2]).contains(mtu));
                if mtu.is_none() {
                    return Err(Error::invalid(format!(
                        "mtu={value} is not between {least} and {}",
                        MTU[2]
                    )));
                }
            }
            "isolate" => {
                isolate = value
                    .parse()
                    .map_err(|_| Error::invalid(format!("isolate={value} is not true or false")))?;
            }
            _ => {
                return Err(Error::invalid(format!("networks have no option {name:?}"))
                    .hint("the options are mtu and isolate"));
            }
        }
    }
    Ok((mtu, isolate))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

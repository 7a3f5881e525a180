//! Names and addresses of links. Errors are the end of a sentence.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use isola_proto::Mac;
use isola_proto::net::MacError;

/// Longest name that DNS carries (RFC 1035, section 2.3.4), in bytes.
const MAX_DNS_NAME: usize = 253;
/// Longest part of such a name between dots.
const MAX_DNS_LABEL: usize = 63;

/// A name that can be asked for: labels of letters, digits, `-` and `_`.
pub(super) fn check_dns_name(name: &str) -> Result<(), String> {
    let label = |label: &str| {
        (1..=MAX_DNS_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match name.len() <= MAX_DNS_NAME && name.split('.').all(label) {
        true => Ok(()),
        false => Err(format!("{name:?} is not a host name")),
    }
}

pub(super) fn parse_ip(text: &str) -> Result<Ipv4Addr, String> {
    let ip: Ipv4Addr = text
        .parse()
        .map_err(|_| "not an IPv4 address such as 10.0.0.5".to_owned())?;
    match ip.octets()[0] == 0 || ip.is_broadcast() {
        true => Err("no instance can have this address".to_owned()),
        false => one_host(IpAddr::V4(ip)).map(|()| ip),
    }
}

pub(super) fn parse_ip6(text: &str) -> Result<Ipv6Addr, String> {
    let ip: Ipv6Addr = text
        .parse()
        .map_err(|_| "not an IPv6 address such as fd00::5".to_owned())?;
    match ip.to_ipv4_mapped() {
        Some(_) => Err("it is an IPv4 address in the form of an IPv6 address".to_owned()),
        None => one_host(IpAddr::V6(ip)).map(|()| ip),
    }
}

/// The address of one host that others can reach.
fn one_host(ip: IpAddr) -> Result<(), String> {
    match ip {
        ip if ip.is_unspecified() => Err("the unspecified address is no host's".to_owned()),
        ip if ip.is_loopback() => Err("a loopback address stays inside its host".to_owned()),
        ip if ip.is_multicast() => Err("a multicast address is a group's".to_owned()),
        _ => Ok(()),
    }
}

pub(super) fn parse_mac(text: &str) -> Result<Mac, String> {
    let mac: Mac = text.parse().map_err(|error: MacError| error.to_string())?;
    // The lowest bit of the first byte marks groups (IEEE 802, section 8.2).
    match mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
        true => Err("it must be the address of one link, and not of a group".to_owned()),
        false => Ok(mac),
    }
}

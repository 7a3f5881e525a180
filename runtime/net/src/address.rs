//! Arithmetic on addresses: which of a network may be given, and the next one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The number as an address of the family of `like`.
fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// First and last address of a network, as numbers.
fn ends(net: IpNet) -> (u128, u128) {
    (number(net.network()), number(net.broadcast()))
}

/// First and last address that instances can have: IPv4's network and broadcast
/// addresses can't be used, nor IPv6's first one, which means any router
/// (RFC 4291, 2.6.1). Networks of two addresses or one have no such (RFC 3021,
/// RFC 6164).
pub(crate) fn usable(net: IpNet) -> (u128, u128) {
    let (first, last) = ends(net);
    match net {
        _ if last - first < 2 => (first, last),
        IpNet::V4(_) => (first + 1, last - 1),
        IpNet::V6(_) => (first + 1, last),
    }
}

/// May an instance or a gateway have this address in this network?
pub(crate) fn is_usable(net: IpNet, address: IpAddr) -> bool {
    let (first, last) = usable(net);
    net.contains(&address) && (first..=last).contains(&number(address))
}

/// The first address that can be used.
pub(crate) fn first(net: IpNet) -> IpAddr {
    address(usable(net).0, net.addr())
}

/// Do the networks share an address?
pub(crate) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// The next free address of `range` (within `net`) after `last`, going round: an
/// address that was given back just now is the last to be given again.
pub(crate) fn next(
    net: IpNet,
    range: Option<IpNet>,
    last: Option<IpAddr>,
    taken: &dyn Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let (mut low, mut high) = usable(net);
    if let Some(range) = range {
        let (first, last) = ends(range);
        (low, high) = (low.max(first), high.min(last));
    }
    if low > high {
        return None;
    }
    let start = last
        .map(|last| number(last).wrapping_add(1))
        .filter(|start| (low..=high).contains(start))
        .unwrap_or(low);
    (start..=high)
        .chain(low..start)
        .map(|number| address(number, net.addr()))
        .find(|address| !taken(*address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn usable_addresses() {
        for (network, address, expected) in [
            ("10.0.0.0/24", "10.0.0.0", false),
            ("10.0.0.0/24", "10.0.0.1", true),
            ("10.0.0.0/24", "10.0.0.254", true),
            ("10.0.0.0/24", "10.0.0.255", false),
            ("10.0.0.0/24", "10.0.1.1", false),
            ("10.0.0.0/31", "10.0.0.0", true),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("fd00::/64", "fd00::", false),
            ("fd00::/64", "fd00::1", true),
            ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", true),
            ("fd00::/64", "10.0.0.1", false),
        ] {
            let seen = is_usable(net(network), ip(address));
            assert_eq!(seen, expected, "{address} in {network}");
        }
        assert_eq!(first(net("10.0.0.0/24")), ip("10.0.0.1"));
        assert_eq!(first(net("fd00::/64")), ip("fd00::1"));
    }

    #[test]
    fn addresses_are_given_in_turn() {
        let none = |_: IpAddr| false;
        for (network, range, last, expected) in [
            ("10.0.0.0/29", None, None, Some("10.0.0.1")),
            ("10.0.0.0/29", None, Some("10.0.0.3"), Some("10.0.0.4")),
            ("10.0.0.0/29", None, Some("10.0.0.6"), Some("10.0.0.1")),
            ("10.0.0.0/29", Some("10.0.0.4/31"), None, Some("10.0.0.4")),
            (
                "10.0.0.0/29",
                Some("10.0.0.4/31"),
                Some("10.0.0.1"),
                Some("10.0.0.4"),
            ),
            // The broadcast address of the network within the range.
            ("10.0.0.0/29", Some("10.0.0.7/32"), None, None),
            ("fd00::/64", None, Some("fd00::5"), Some("fd00::6")),
        ] {
            let seen = next(net(network), range.map(net), last.map(ip), &none);
            assert_eq!(seen, expected.map(ip), "{network} {range:?} {last:?}");
        }
        let odd = |address: IpAddr| number(address) % 2 == 1;
        assert_eq!(
            next(net("10.0.0.0/29"), None, Some(ip("10.0.0.6")), &odd),
            Some(ip("10.0.0.2"))
        );
        assert_eq!(next(net("10.0.0.0/30"), None, None, &|_| true), None);
    }

    #[test]
    fn overlaps() {
        for (a, b, expected) in [
            ("10.0.0.0/24", "10.0.0.128/25", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("10.0.0.0/8", "10.0.1.0/24", true),
            ("fd00::/64", "10.0.0.0/8", false),
            ("fd00::/64", "fd00::/80", true),
        ] {
            assert_eq!(overlap(net(a), net(b)), expected, "{a} {b}");
            assert_eq!(overlap(net(b), net(a)), expected, "{b} {a}");
        }
    }
}

//! What the device offers, and what follows from what the driver accepted.

use virtio_bindings::virtio_net as spec;

use super::tap::Abilities;
use crate::virtio::COMMON_FEATURES;

/// Kinds of segmentation in the header's `gso_type`, without the ECN bit.
const ECN: u8 = spec::VIRTIO_NET_HDR_GSO_ECN as u8;

/// Feature bit of the driver, what it lets the tap device do, and the kind of
/// segments that then reach the guest.
const GUEST: &[(u32, libc::c_uint, Option<u8>)] = &[
    (spec::VIRTIO_NET_F_GUEST_CSUM, libc::TUN_F_CSUM, None),
    (
        spec::VIRTIO_NET_F_GUEST_TSO4,
        libc::TUN_F_TSO4,
        Some(spec::VIRTIO_NET_HDR_GSO_TCPV4 as u8),
    ),
    (
        spec::VIRTIO_NET_F_GUEST_TSO6,
        libc::TUN_F_TSO6,
        Some(spec::VIRTIO_NET_HDR_GSO_TCPV6 as u8),
    ),
    (spec::VIRTIO_NET_F_GUEST_ECN, libc::TUN_F_TSO_ECN, None),
    (
        spec::VIRTIO_NET_F_GUEST_UFO,
        libc::TUN_F_UFO,
        Some(spec::VIRTIO_NET_HDR_GSO_UDP as u8),
    ),
    (
        spec::VIRTIO_NET_F_GUEST_USO4,
        libc::TUN_F_USO4,
        Some(spec::VIRTIO_NET_HDR_GSO_UDP_L4 as u8),
    ),
    (
        spec::VIRTIO_NET_F_GUEST_USO6,
        libc::TUN_F_USO6,
        Some(spec::VIRTIO_NET_HDR_GSO_UDP_L4 as u8),
    ),
];

/// Features that every network device here has.
const ALWAYS: &[u32] = &[
    spec::VIRTIO_NET_F_CSUM,
    spec::VIRTIO_NET_F_GUEST_CSUM,
    spec::VIRTIO_NET_F_MAC,
    spec::VIRTIO_NET_F_GUEST_TSO4,
    spec::VIRTIO_NET_F_GUEST_TSO6,
    spec::VIRTIO_NET_F_GUEST_ECN,
    spec::VIRTIO_NET_F_GUEST_UFO,
    spec::VIRTIO_NET_F_HOST_TSO4,
    spec::VIRTIO_NET_F_HOST_TSO6,
    spec::VIRTIO_NET_F_HOST_ECN,
    spec::VIRTIO_NET_F_HOST_UFO,
    spec::VIRTIO_NET_F_MRG_RXBUF,
    spec::VIRTIO_NET_F_STATUS,
];
const USO: &[u32] = &[
    spec::VIRTIO_NET_F_GUEST_USO4,
    spec::VIRTIO_NET_F_GUEST_USO6,
    spec::VIRTIO_NET_F_HOST_USO,
];
const MANY: &[u32] = &[spec::VIRTIO_NET_F_CTRL_VQ, spec::VIRTIO_NET_F_MQ];

/// Whether a feature is among the bits.
pub(super) fn has(features: u64, bit: u32) -> bool {
    features >> bit & 1 != 0
}

/// What is offered.
pub(super) fn offered(pairs: usize, mtu: bool, abilities: Abilities) -> u64 {
    let mtu: &[u32] = if mtu { &[spec::VIRTIO_NET_F_MTU] } else { &[] };
    let uso = if abilities.uso { USO } else { &[] };
    let many = if pairs > 1 { MANY } else { &[] };
    [ALWAYS, mtu, uso, many]
        .concat()
        .into_iter()
        .fold(COMMON_FEATURES, |bits, bit| bits | 1 << bit)
}

/// What the driver's features mean for packets to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// A packet may fill several buffers.
    pub(super) mergeable: bool,
    /// Checksums may be missing.
    checksums: bool,
    /// A bit per kind of segments.
    segments: u8,
    ecn: bool,
    /// For [`super::tap::Tap::offload`].
    pub(super) offload: libc::c_uint,
}

impl Agreed {
    pub(super) fn new(features: u64) -> Agreed {
        let mut agreed = Agreed {
            mergeable: has(features, spec::VIRTIO_NET_F_MRG_RXBUF),
            checksums: has(features, spec::VIRTIO_NET_F_GUEST_CSUM),
            segments: 0,
            ecn: has(features, spec::VIRTIO_NET_F_GUEST_ECN),
            offload: 0,
        };
        // Nothing can be segmented later that has its checksum now; the kernel has
        // one switch for both, and UDP's two come together.
        for (bit, flag, kind) in GUEST {
            if agreed.checksums && has(features, *bit) {
                agreed.offload |= flag;
                agreed.segments |= kind.map_or(0, |kind| 1 << kind);
            }
        }
        // It takes the word about ECN only together with TCP's segments.
        if agreed.offload & (libc::TUN_F_TSO4 | libc::TUN_F_TSO6) == 0 {
            agreed.offload &= !libc::TUN_F_TSO_ECN;
        }
        const BOTH: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;
        if agreed.offload & BOTH != BOTH {
            agreed.offload &= !BOTH;
            agreed.segments &= !(1 << spec::VIRTIO_NET_HDR_GSO_UDP_L4);
        }
        agreed
    }

    /// Looks at the first two bytes of a packet's header (flags, kind of segments)
    /// on its way to the guest: the flags to show, or `None` if the guest can't take
    /// such a packet. The kernel has some of them from before the driver said so.
    pub(super) fn admit(self, [flags, kind]: [u8; 2]) -> Option<u8> {
        const MISSING: u8 = spec::VIRTIO_NET_HDR_F_NEEDS_CSUM as u8;
        const VALID: u8 = spec::VIRTIO_NET_HDR_F_DATA_VALID as u8;
        let plain = kind & !ECN;
        let whole = plain == spec::VIRTIO_NET_HDR_GSO_NONE as u8;
        let known = whole || plain < 8 && self.segments >> plain & 1 != 0;
        if !known || kind & ECN != 0 && !self.ecn {
            return None;
        }
        if self.checksums {
            Some(flags & (MISSING | VALID))
        } else {
            (flags & MISSING == 0).then_some(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_follows_the_configuration() {
        let none = Abilities::default();
        let plain = offered(1, false, none);
        for bit in ALWAYS {
            assert!(has(plain, *bit), "{bit}");
        }
        for bit in [USO, MANY, &[spec::VIRTIO_NET_F_MTU]].concat() {
            assert!(!has(plain, bit), "{bit}");
        }
        assert!(has(offered(1, true, none), spec::VIRTIO_NET_F_MTU));
        assert!(has(offered(2, false, none), spec::VIRTIO_NET_F_MQ));
        assert!(has(
            offered(1, false, Abilities { uso: true }),
            spec::VIRTIO_NET_F_HOST_USO
        ));
    }

    #[test]
    fn packets_are_admitted_as_agreed() {
        let bits = |bits: &[u32]| bits.iter().fold(0, |sum, bit| sum | 1u64 << bit);
        let nothing = Agreed::new(0);
        let sums = Agreed::new(bits(&[spec::VIRTIO_NET_F_GUEST_CSUM]));
        let tso = Agreed::new(bits(&[
            spec::VIRTIO_NET_F_GUEST_CSUM,
            spec::VIRTIO_NET_F_GUEST_TSO4,
        ]));
        let ecn = Agreed::new(bits(&[
            spec::VIRTIO_NET_F_GUEST_CSUM,
            spec::VIRTIO_NET_F_GUEST_TSO4,
            spec::VIRTIO_NET_F_GUEST_ECN,
        ]));
        let alone = Agreed::new(bits(&[spec::VIRTIO_NET_F_GUEST_TSO4]));
        let half = Agreed::new(bits(&[
            spec::VIRTIO_NET_F_GUEST_CSUM,
            spec::VIRTIO_NET_F_GUEST_USO4,
        ]));
        let table = [
            (nothing, [0, 0], Some(0)),
            (nothing, [2, 0], Some(0)),
            (nothing, [1, 0], None),
            (nothing, [0, 1], None),
            (sums, [1, 0], Some(1)),
            (sums, [2 | 4, 0], Some(2)),
            (sums, [1, 1], None),
            (tso, [1, 1], Some(1)),
            (tso, [1, 4], None),
            (tso, [1, 0x81], None),
            (ecn, [1, 0x81], Some(1)),
            (alone, [0, 1], None),
            (half, [1, 5], None),
            (ecn, [1, 0x7f], None),
            (ecn, [1, 9], None),
        ];
        for (agreed, header, expected) in table {
            assert_eq!(agreed.admit(header), expected, "{agreed:?} {header:?}");
        }
        assert_eq!(alone.offload, 0);
        assert_eq!(tso.offload, libc::TUN_F_CSUM | libc::TUN_F_TSO4);
        assert_eq!(half.offload, libc::TUN_F_CSUM);
        let no_tcp = bits(&[spec::VIRTIO_NET_F_GUEST_CSUM, spec::VIRTIO_NET_F_GUEST_ECN]);
        assert_eq!(Agreed::new(no_tcp).offload, libc::TUN_F_CSUM);
    }
}

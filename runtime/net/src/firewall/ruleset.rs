//! The table's fixed part: sets, maps, chains and rules. Networks and ports are
//! elements of the sets and maps only.
//!
//! - `guard`: addresses of loopback are not for a bridge's members.
//! - `dnat`, `dnat-local`: published ports, for packets from others and from the
//!   host itself. `at` maps are for one address of the host, `any` maps for all.
//! - `masquerade`: what leaves through the host gets its address; so does what
//!   comes back to its own bridge through a published port, since the answer would
//!   go past the host.
//! - `forward`: published ports and answers; nothing to or from internal networks,
//!   nothing between isolated ones, nothing into a network from elsewhere.
//! - `input`: members of an internal network reach the host by their gateway only,
//!   and members of an isolated network no other network's gateway.

use super::step::{FIRST, Step};

/// The table.
pub(super) const TABLE: &str = "isola";

/// A set, or a map if it has data.
pub(super) struct Set {
    pub(super) name: &'static str,
    /// Types of the parts of a key by nft's numbers, shown by `nft list`.
    key: &'static [u32],
    /// Types of the parts of the data.
    data: &'static [u32],
}

const IPV4: u32 = 7;
const IPV6: u32 = 8;
const PROTOCOL: u32 = 12;
const PORT: u32 = 13;
const LINK: u32 = 41;

impl Set {
    /// nft's number of a concatenated type: six bits each.
    pub(super) fn key_type(&self) -> u32 {
        concatenated(self.key)
    }

    pub(super) fn data_type(&self) -> u32 {
        concatenated(self.data)
    }

    /// Whether a key is one name of a link. Other programs take the bytes of a key for
    /// a number with its highest byte first, unless they are told.
    pub(super) fn is_of_links(&self) -> bool {
        self.key == [LINK]
    }

    /// Bytes in registers, each part a multiple of four.
    pub(super) fn key_length(&self) -> u32 {
        length(self.key)
    }

    pub(super) fn data_length(&self) -> u32 {
        length(self.data)
    }
}

fn concatenated(types: &[u32]) -> u32 {
    types.iter().fold(0, |all, one| (all << 6) | one)
}

fn length(types: &[u32]) -> u32 {
    let one = |kind: &u32| match *kind {
        IPV6 | LINK => 16,
        _ => 4,
    };
    types.iter().map(one).sum()
}

pub(super) const BRIDGES: &str = "bridges";
pub(super) const LOOPS: &str = "loops";
pub(super) const OUTGOING: &str = "outgoing";
pub(super) const INTERNAL: &str = "internal";
pub(super) const ISOLATED: &str = "isolated";
pub(super) const GATEWAYS4: &str = "gateways4";
pub(super) const GATEWAYS6: &str = "gateways6";
pub(super) const MEMBERS4: &str = "members4";
pub(super) const MEMBERS6: &str = "members6";
pub(super) const ANY4: &str = "any4";
pub(super) const ANY6: &str = "any6";
pub(super) const AT4: &str = "at4";
pub(super) const AT6: &str = "at6";

/// All sets and maps.
pub(super) const SETS: [Set; 13] = [
    set(BRIDGES, &[LINK], &[]),
    // A bridge's name twice: nf_tables can't compare two registers.
    set(LOOPS, &[LINK, LINK], &[]),
    set(OUTGOING, &[LINK], &[]),
    set(INTERNAL, &[LINK], &[]),
    set(ISOLATED, &[LINK], &[]),
    set(GATEWAYS4, &[IPV4], &[]),
    set(GATEWAYS6, &[IPV6], &[]),
    set(MEMBERS4, &[LINK, IPV4], &[]),
    set(MEMBERS6, &[LINK, IPV6], &[]),
    set(ANY4, &[PROTOCOL, PORT], &[IPV4, PORT]),
    set(ANY6, &[PROTOCOL, PORT], &[IPV6, PORT]),
    set(AT4, &[IPV4, PROTOCOL, PORT], &[IPV4, PORT]),
    set(AT6, &[IPV6, PROTOCOL, PORT], &[IPV6, PORT]),
];

const fn set(name: &'static str, key: &'static [u32], data: &'static [u32]) -> Set {
    Set { name, key, data }
}

/// A chain that the kernel calls.
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    /// NF_INET_... of linux/netfilter.h.
    pub(super) hook: u32,
    pub(super) priority: i32,
}

const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// All chains; priorities are nft's `raw`, `dstnat`, `srcnat` and `filter`.
pub(super) const CHAINS: [Chain; 6] = [
    chain("guard", "filter", PREROUTING, -300),
    chain("dnat", "nat", PREROUTING, -100),
    chain("dnat-local", "nat", OUTPUT, -100),
    chain("masquerade", "nat", POSTROUTING, 100),
    chain("forward", "filter", FORWARD, 0),
    chain("input", "filter", INPUT, 0),
];

const fn chain(name: &'static str, kind: &'static str, hook: u32, priority: i32) -> Chain {
    Chain {
        name,
        kind,
        hook,
        priority,
    }
}

const R: u32 = FIRST;
const V4: Step = Step::Is(R, &[libc::NFPROTO_IPV4 as u8]);
const V6: Step = Step::Is(R, &[libc::NFPROTO_IPV6 as u8]);
const LOCAL: [u8; 4] = (libc::RTN_LOCAL as u32).to_ne_bytes();
const BROADCAST: [u8; 4] = (libc::RTN_BROADCAST as u32).to_ne_bytes();
const MULTICAST: [u8; 4] = (libc::RTN_MULTICAST as u32).to_ne_bytes();
const ONE6: [u8; 16] = std::net::Ipv6Addr::LOCALHOST.octets();
/// The state bits of established (1 << 1) and related (1 << 2) connections.
const ANSWERS: Step = Step::State(0b110);
/// IPS_DST_NAT.
const TRANSLATED: Step = Step::Status(1 << 5);
const FROM: Step = Step::Iifname(R);
const TO: Step = Step::Oifname(R);
const FAMILY: Step = Step::Family(R);

/// All rules, in their order.
pub(super) fn rules() -> Vec<(&'static str, Vec<Step>)> {
    let mut all = guard();
    for chain in ["dnat", "dnat-local"] {
        all.extend(published(chain));
    }
    all.extend(masquerade());
    all.extend(forward());
    all.extend(input());
    all
}

fn guard() -> Vec<(&'static str, Vec<Step>)> {
    use Step::{Drop, In, Is, Network};
    [12, 16]
        .map(|offset| {
            let loopback = [Network(offset, 1, R), Is(R, &[127]), Drop];
            let mut rule = vec![FROM, In(BRIDGES, R), FAMILY, V4];
            rule.extend(loopback);
            ("guard", rule)
        })
        .to_vec()
}

fn published(chain: &'static str) -> Vec<(&'static str, Vec<Step>)> {
    use Step::{Dnat, Is, Kind, Map, Network, Port, Protocol, Return};
    let local = Kind {
        own_link: false,
        to: R,
    };
    let first = if chain == "dnat" {
        // The kernel refuses such packets only when it routes them, after this.
        vec![FAMILY, V4, Network(16, 1, R), Is(R, &[127]), Return]
    } else {
        // Can't be answered from elsewhere: the relay's.
        vec![FAMILY, V6, Network(24, 16, R), Is(R, &ONE6), Return]
    };
    vec![
        (chain, first),
        (
            chain,
            vec![
                FAMILY,
                V4,
                Network(16, 4, R),
                Protocol(R + 1),
                Port(R + 2),
                Map(AT4, R),
                Dnat { v6: false },
            ],
        ),
        (
            chain,
            vec![
                FAMILY,
                V6,
                Network(24, 16, R),
                Protocol(R + 4),
                Port(R + 5),
                Map(AT6, R),
                Dnat { v6: true },
            ],
        ),
        (
            chain,
            vec![
                FAMILY,
                V4,
                local,
                Is(R, &LOCAL),
                Protocol(R),
                Port(R + 1),
                Map(ANY4, R),
                Dnat { v6: false },
            ],
        ),
        (
            chain,
            vec![
                FAMILY,
                V6,
                local,
                Is(R, &LOCAL),
                Protocol(R),
                Port(R + 1),
                Map(ANY6, R),
                Dnat { v6: true },
            ],
        ),
    ]
}

fn masquerade() -> Vec<(&'static str, Vec<Step>)> {
    use Step::{Accept, In, Is, Masquerade, Network, Oifname};
    let both = [FROM, Oifname(R + 4), In(LOOPS, R)];
    // By address: with br_netfilter the link that it came from is not known here.
    let back4 = vec![
        TRANSLATED,
        FAMILY,
        V4,
        TO,
        Network(12, 4, R + 4),
        In(MEMBERS4, R),
        Masquerade,
    ];
    let back6 = vec![
        TRANSLATED,
        FAMILY,
        V6,
        TO,
        Network(8, 16, R + 4),
        In(MEMBERS6, R),
        Masquerade,
    ];
    let inside = [&both[..], &[Accept]].concat();
    let loopback = vec![
        TO,
        In(OUTGOING, R),
        FAMILY,
        V4,
        Network(12, 1, R),
        Is(R, &[127]),
        Masquerade,
    ];
    let between = vec![FROM, In(BRIDGES, R), TO, In(BRIDGES, R), Accept];
    let out = vec![FROM, In(OUTGOING, R), Masquerade];
    [back4, back6, inside, loopback, between, out]
        .map(|rule| ("masquerade", rule))
        .to_vec()
}

fn forward() -> Vec<(&'static str, Vec<Step>)> {
    use Step::{Accept, Drop, In, Oifname};
    [
        vec![ANSWERS, Accept],
        vec![FROM, Oifname(R + 4), In(LOOPS, R), Accept],
        vec![FROM, In(INTERNAL, R), Drop],
        vec![TO, In(INTERNAL, R), Drop],
        vec![TO, In(BRIDGES, R), TRANSLATED, Accept],
        vec![FROM, In(ISOLATED, R), TO, In(BRIDGES, R), Drop],
        vec![FROM, In(BRIDGES, R), TO, In(ISOLATED, R), Drop],
        vec![FROM, In(BRIDGES, R), Accept],
        vec![TO, In(BRIDGES, R), Drop],
    ]
    .map(|rule| ("forward", rule))
    .to_vec()
}

fn input() -> Vec<(&'static str, Vec<Step>)> {
    use Step::{Accept, Drop, In, Is, IsNot, Kind, Network};
    let on_link = Kind {
        own_link: true,
        to: R,
    };
    let not_ours = [on_link, IsNot(R, &LOCAL)];
    let others_gateway4 = [
        &[FROM, In(ISOLATED, R), FAMILY, V4, Network(16, 4, R)][..],
        &[In(GATEWAYS4, R)],
        &not_ours,
        &[Drop],
    ];
    let others_gateway6 = [
        &[FROM, In(ISOLATED, R), FAMILY, V6, Network(24, 16, R)][..],
        &[In(GATEWAYS6, R)],
        &not_ours,
        &[Drop],
    ];
    // Neighbour discovery.
    let multicast6 = vec![
        FROM,
        In(INTERNAL, R),
        FAMILY,
        V6,
        Network(24, 1, R),
        Is(R, &[0xff]),
        Accept,
    ];
    let elsewhere = vec![
        FROM,
        In(INTERNAL, R),
        on_link,
        IsNot(R, &LOCAL),
        IsNot(R, &BROADCAST),
        IsNot(R, &MULTICAST),
        Drop,
    ];
    [
        others_gateway4.concat(),
        others_gateway6.concat(),
        multicast6,
        elsewhere,
    ]
    .map(|rule| ("input", rule))
    .to_vec()
}

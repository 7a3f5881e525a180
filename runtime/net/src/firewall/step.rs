//! Rules as lists of steps, and their encoding as nf_tables expressions
//! (linux/netfilter/nf_tables.h).

use netlink_bindings::nftables::{
    CmpOps, CtKeys, FibFlags, MetaKeys, PayloadBase, PushExprListAttrs, PushRuleAttrs,
};
use netlink_bindings::traits::Pusher;
use netlink_bindings::utils::{finalize_nested_header, push_header, push_nested_header};

/// First 32-bit register (NFT_REG32_00); the others follow. Sixteen bytes of a
/// name or an IPv6 address take four.
pub(super) const FIRST: u32 = 8;
/// NF_DROP, NF_ACCEPT and NFT_RETURN.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const RETURN: u32 = (-5_i32) as u32;
/// NFT_REG_VERDICT.
const VERDICT: u32 = 0;
/// NFT_FIB_RESULT_ADDRTYPE; netlink-bindings 0.3.5 has another number.
const ADDRESS_KIND: u32 = 3;
/// NFT_NAT_DNAT.
const DNAT: u32 = 1;

/// One step of a rule: it loads a register, or ends the rule unless something
/// holds, or decides.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Name of the link that the packet came from, into registers `to`...
    Iifname(u32),
    /// Name of the link that it goes out on.
    Oifname(u32),
    /// Address family as one byte.
    Family(u32),
    /// Transport protocol as one byte.
    Protocol(u32),
    /// Bytes of the network header: offset, length, register.
    Network(u32, u32, u32),
    /// Destination port.
    Port(u32),
    /// Kind of the destination address (RTN_...), on any link or on the link that
    /// the packet came from only.
    Kind {
        own_link: bool,
        to: u32,
    },
    /// The register is this.
    Is(u32, &'static [u8]),
    /// The register is not this.
    IsNot(u32, &'static [u8]),
    /// Registers from the given one on are in a set.
    In(&'static str, u32),
    /// Looks the registers up in a map; the value goes to the first registers.
    Map(&'static str, u32),
    /// The connection's state has one of these bits.
    State(u32),
    /// The connection's status has one of these bits.
    Status(u32),
    /// Send it to the address and port in the first registers.
    Dnat {
        v6: bool,
    },
    /// Give it the address of the link that it goes out on.
    Masquerade,
    Accept,
    Drop,
    Return,
}

/// Expressions of a rule while it is written.
pub(super) type List<'a> = PushExprListAttrs<PushRuleAttrs<&'a mut Vec<u8>>>;

impl Step {
    /// Adds the step's expressions.
    pub(super) fn write(self, list: List<'_>) -> List<'_> {
        match self {
            Step::Iifname(to) => meta(list, MetaKeys::Iifname, to),
            Step::Oifname(to) => meta(list, MetaKeys::Oifname, to),
            Step::Family(to) => meta(list, MetaKeys::Nfproto, to),
            Step::Protocol(to) => meta(list, MetaKeys::L4Proto, to),
            Step::Network(offset, length, to) => {
                payload(list, PayloadBase::NetworkHeader, offset, length, to)
            }
            // TCP and UDP have it at the same place.
            Step::Port(to) => payload(list, PayloadBase::TransportHeader, 2, 2, to),
            Step::Kind { own_link, to } => fib(list, own_link, to),
            Step::Is(from, value) => compare(list, from, CmpOps::Eq, value),
            Step::IsNot(from, value) => compare(list, from, CmpOps::Neq, value),
            Step::In(set, from) => lookup(list, set, from, None),
            Step::Map(map, from) => lookup(list, map, from, Some(FIRST)),
            Step::State(bits) => connection(list, CtKeys::State, bits),
            Step::Status(bits) => connection(list, CtKeys::Status, bits),
            Step::Dnat { v6 } => dnat(list, v6),
            Step::Masquerade => list.nested_elem().push_name(c"masq").end_nested(),
            Step::Accept => verdict(list, ACCEPT),
            Step::Drop => verdict(list, DROP),
            Step::Return => verdict(list, RETURN),
        }
    }
}

fn meta(list: List<'_>, key: MetaKeys, to: u32) -> List<'_> {
    list.nested_elem()
        .nested_data_meta()
        .push_key(key as u32)
        .push_dreg(to)
        .end_nested()
        .end_nested()
}

fn payload(list: List<'_>, base: PayloadBase, offset: u32, length: u32, to: u32) -> List<'_> {
    list.nested_elem()
        .nested_data_payload()
        .push_dreg(to)
        .push_base(base as u32)
        .push_offset(offset)
        .push_len(length)
        .end_nested()
        .end_nested()
}

fn fib(list: List<'_>, own_link: bool, to: u32) -> List<'_> {
    let mut flags = FibFlags::Daddr as u32;
    if own_link {
        flags |= FibFlags::Iif as u32;
    }
    list.nested_elem()
        .nested_data_fib()
        .push_dreg(to)
        .push_result(ADDRESS_KIND)
        .push_flags(flags)
        .end_nested()
        .end_nested()
}

fn compare<'a>(list: List<'a>, from: u32, how: CmpOps, value: &[u8]) -> List<'a> {
    list.nested_elem()
        .nested_data_cmp()
        .push_sreg(from)
        .push_op(how as u32)
        .nested_data()
        .push_value(value)
        .end_nested()
        .end_nested()
        .end_nested()
}

/// netlink-bindings 0.3.5 numbers these attributes wrongly, so they are written
/// here: a set's name, source register, and for a map the register of the value.
fn lookup<'a>(list: List<'a>, set: &str, from: u32, to: Option<u32>) -> List<'a> {
    const SET: u16 = 1;
    const SOURCE: u16 = 2;
    const TARGET: u16 = 3;
    const EXPRESSION_DATA: u16 = 2;
    let mut element = list.nested_elem().push_name(c"lookup");
    let bytes = element.as_vec_mut();
    let data = push_nested_header(bytes, EXPRESSION_DATA);
    push_header(bytes, SET, set.len() as u16 + 1);
    bytes.extend(set.as_bytes());
    bytes.push(0);
    for (kind, register) in [(SOURCE, Some(from)), (TARGET, to)] {
        if let Some(register) = register {
            push_header(bytes, kind, 4);
            bytes.extend(register.to_be_bytes());
        }
    }
    finalize_nested_header(bytes, data);
    element.end_nested()
}

/// Bits are in the host's order, unlike what comes from packets.
fn connection(list: List<'_>, key: CtKeys, bits: u32) -> List<'_> {
    let list = list
        .nested_elem()
        .nested_data_ct()
        .push_dreg(FIRST)
        .push_key(key as u32)
        .end_nested()
        .end_nested()
        .nested_elem()
        .nested_data_bitwise()
        .push_sreg(FIRST)
        .push_dreg(FIRST)
        .push_len(4)
        .nested_mask()
        .push_value(&bits.to_ne_bytes())
        .end_nested()
        .nested_xor()
        .push_value(&[0; 4])
        .end_nested()
        .end_nested()
        .end_nested();
    compare(list, FIRST, CmpOps::Neq, &[0; 4])
}

fn dnat(list: List<'_>, v6: bool) -> List<'_> {
    let (family, port) = if v6 {
        (libc::NFPROTO_IPV6, FIRST + 4)
    } else {
        (libc::NFPROTO_IPV4, FIRST + 1)
    };
    list.nested_elem()
        .nested_data_nat()
        .push_type(DNAT)
        .push_family(family as u32)
        .push_reg_addr_min(FIRST)
        .push_reg_proto_min(port)
        .end_nested()
        .end_nested()
}

fn verdict(list: List<'_>, code: u32) -> List<'_> {
    list.nested_elem()
        .nested_data_immediate()
        .push_dreg(VERDICT)
        .nested_data()
        .nested_verdict()
        .push_code(code)
        .end_nested()
        .end_nested()
        .end_nested()
        .end_nested()
}

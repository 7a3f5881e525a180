//! nf_tables' messages.

use isola_netlink::{Message, Result, Socket};
use netlink_bindings::nftables::{
    GenAttrs, Nfgenmsg, PushBatchAttrs, PushChainAttrs, PushRuleAttrs, PushSetAttrs,
    PushSetelemListAttrs, PushTableAttrs, RuleAttrs, SetelemListAttrs,
};

use super::ruleset::{Chain, SETS, Set, TABLE};
use super::step::Step;
use super::{Element, Key};

/// NFT_SET_MAP.
const MAP: u32 = 1 << 3;
/// An attribute's length has 16 bits; an element takes less than 256 bytes.
const AT_ONCE: usize = 200;

fn kind(message: libc::c_int) -> u16 {
    ((libc::NFNL_SUBSYS_NFTABLES << 8) | message) as u16
}

fn header(family: libc::c_int) -> Nfgenmsg {
    let mut header = Nfgenmsg::new();
    header.nfgen_family = family as u8;
    header
}

fn message(what: libc::c_int, flags: libc::c_int) -> Message {
    Message::new(
        kind(what),
        flags as u16,
        header(libc::NFPROTO_INET).as_slice(),
    )
}

/// A batch's begin; the kernel refuses it with ERESTART when any rule of the host
/// was changed since the generation was read.
pub(super) fn begin(generation: u32) -> Message {
    let mut begin = edge(libc::NFNL_MSG_BATCH_BEGIN);
    PushBatchAttrs::new(begin.attributes()).push_genid(generation);
    begin
}

/// A batch's end.
pub(super) fn end() -> Message {
    edge(libc::NFNL_MSG_BATCH_END)
}

fn edge(what: libc::c_int) -> Message {
    let mut header = header(libc::AF_UNSPEC);
    header._res_id_be = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be();
    Message::new(what as u16, 0, header.as_slice())
}

/// The number of the host's rules as they are now.
pub(super) fn generation(socket: &mut Socket) -> Result<u32> {
    let ask = Message::new(
        kind(libc::NFT_MSG_GETGEN),
        0,
        header(libc::AF_UNSPEC).as_slice(),
    );
    let generation = socket.get(
        "the generation of nf_tables",
        ask,
        kind(libc::NFT_MSG_NEWGEN),
        |payload| GenAttrs::new(payload.get(Nfgenmsg::len()..)?).get_id().ok(),
    )?;
    Ok(generation.unwrap_or(0))
}

/// The comments of the table's rules; empty without a table.
pub(super) fn rule_comments(socket: &mut Socket) -> Result<Vec<String>> {
    let mut ask = message(libc::NFT_MSG_GETRULE, 0);
    PushRuleAttrs::new(ask.attributes()).push_table_bytes(TABLE.as_bytes());
    socket.list(
        "firewall rules",
        &ask,
        kind(libc::NFT_MSG_NEWRULE),
        |payload| {
            let rule = RuleAttrs::new(payload.get(Nfgenmsg::len()..)?);
            let ours = rule
                .get_table()
                .is_ok_and(|it| it.to_bytes() == TABLE.as_bytes());
            ours.then(|| comment_of(rule.get_userdata().unwrap_or_default()).unwrap_or_default())
        },
    )
}

/// Is the table there?
pub(super) fn table_exists(socket: &mut Socket) -> Result<bool> {
    let mut ask = message(libc::NFT_MSG_GETTABLE, 0);
    PushTableAttrs::new(ask.attributes()).push_name_bytes(TABLE.as_bytes());
    match socket.get(
        "the firewall table",
        ask,
        kind(libc::NFT_MSG_NEWTABLE),
        |_| Some(()),
    ) {
        Ok(found) => Ok(found.is_some()),
        Err(error) if error.errno() == Some(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn table(create: bool) -> Message {
    let (what, flags) = if create {
        (libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE)
    } else {
        (libc::NFT_MSG_DELTABLE, 0)
    };
    let mut table = message(what, flags);
    PushTableAttrs::new(table.attributes()).push_name_bytes(TABLE.as_bytes());
    table
}

pub(super) fn chain(chain: &Chain) -> Message {
    let mut message = message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE);
    PushChainAttrs::new(message.attributes())
        .push_table_bytes(TABLE.as_bytes())
        .push_name_bytes(chain.name.as_bytes())
        .nested_hook()
        .push_num(chain.hook)
        .push_priority(chain.priority)
        .end_nested()
        .push_policy(libc::NF_ACCEPT as u32)
        .push_type_bytes(chain.kind.as_bytes());
    message
}

pub(super) fn set(set: &Set, id: u32) -> Message {
    let mut message = message(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE);
    let is_map = set.data_length() > 0;
    let mut attributes = PushSetAttrs::new(message.attributes())
        .push_table_bytes(TABLE.as_bytes())
        .push_name_bytes(set.name.as_bytes())
        .push_id(id)
        .push_key_type(set.key_type())
        .push_key_len(set.key_length())
        .push_flags(if is_map { MAP } else { 0 });
    if set.is_of_links() {
        attributes = attributes.push_userdata(&key_byte_order());
    }
    if is_map {
        attributes = attributes
            .push_data_type(set.data_type())
            .push_data_len(set.data_length());
    }
    drop(attributes);
    message
}

/// Removes every rule of the table and nothing else.
pub(super) fn no_rules() -> Message {
    let mut message = message(libc::NFT_MSG_DELRULE, 0);
    PushRuleAttrs::new(message.attributes()).push_table_bytes(TABLE.as_bytes());
    message
}

pub(super) fn rule(chain: &str, steps: &[Step], comment: &str) -> Message {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
    let mut message = message(libc::NFT_MSG_NEWRULE, flags);
    let mut list = PushRuleAttrs::new(message.attributes())
        .push_table_bytes(TABLE.as_bytes())
        .push_chain_bytes(chain.as_bytes())
        .nested_expressions();
    for step in steps {
        list = step.write(list);
    }
    list.end_nested().push_userdata(&userdata(comment));
    message
}

/// Messages that add or remove elements.
pub(super) fn change<'a>(
    create: bool,
    elements: impl Iterator<Item = &'a Element>,
) -> Vec<Message> {
    let mut by_set: Vec<Vec<&Element>> = SETS.iter().map(|_| Vec::new()).collect();
    for element in elements {
        if let Some(at) = SETS.iter().position(|set| set.name == element.key.set) {
            by_set[at].push(element);
        }
    }
    by_set
        .iter()
        .flat_map(|elements| elements.chunks(AT_ONCE))
        .map(|chunk| change_some(create, chunk))
        .collect()
}

fn change_some(create: bool, elements: &[&Element]) -> Message {
    let (what, flags) = if create {
        (
            libc::NFT_MSG_NEWSETELEM,
            libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        )
    } else {
        (libc::NFT_MSG_DELSETELEM, 0)
    };
    let mut message = message(what, flags);
    let set = elements.first().map_or("", |element| element.key.set);
    let mut list = PushSetelemListAttrs::new(message.attributes())
        .push_table_bytes(TABLE.as_bytes())
        .push_set_bytes(set.as_bytes())
        .nested_elements();
    for element in elements {
        let mut one = list
            .nested_elem()
            .nested_key()
            .push_value(&element.key.bytes)
            .end_nested();
        if create {
            if !element.data.is_empty() {
                one = one.nested_data().push_value(&element.data).end_nested();
            }
            one = one.push_userdata(&userdata(&element.owner));
        }
        list = one.end_nested();
    }
    drop(list);
    message
}

/// All elements of a set.
pub(super) fn elements(socket: &mut Socket, set: &'static str) -> Result<Vec<Element>> {
    let mut ask = message(libc::NFT_MSG_GETSETELEM, 0);
    PushSetelemListAttrs::new(ask.attributes())
        .push_table_bytes(TABLE.as_bytes())
        .push_set_bytes(set.as_bytes());
    let lists = socket.list(
        "firewall elements",
        &ask,
        kind(libc::NFT_MSG_NEWSETELEM),
        |payload| {
            let list = SetelemListAttrs::new(payload.get(Nfgenmsg::len()..)?);
            let mut all = Vec::new();
            for element in list.get_elements().ok()? {
                let netlink_bindings::nftables::SetelemListElemAttrs::Elem(element) =
                    element.ok()?;
                let value = |data: netlink_bindings::nftables::IterableDataAttrs<'_>| {
                    data.get_value().map(<[u8]>::to_vec).ok()
                };
                all.push(Element {
                    key: Key {
                        set,
                        bytes: element.get_key().ok().and_then(value)?,
                    },
                    data: element.get_data().ok().and_then(value).unwrap_or_default(),
                    owner: comment_of(element.get_userdata().unwrap_or_default())
                        .unwrap_or_default(),
                });
            }
            Some(all)
        },
    )?;
    Ok(lists.into_iter().flatten().collect())
}

/// The byte order of a set's keys, that of the host, as `nft` notes it for itself: type 0
/// (NFTNL_UDATA_SET_KEYBYTEORDER of libnftnl), length, number.
fn key_byte_order() -> [u8; 6] {
    const HOST: u32 = 1;
    let [a, b, c, d] = HOST.to_ne_bytes();
    [0, 4, a, b, c, d]
}

/// A comment as `nft` shows it: type 0, length, text with a closing zero
/// (NFTNL_UDATA_RULE_COMMENT and NFTNL_UDATA_SET_ELEM_COMMENT of libnftnl).
fn userdata(comment: &str) -> Vec<u8> {
    let text = &comment.as_bytes()[..comment.len().min(127)];
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend(text);
    bytes.push(0);
    bytes
}

fn comment_of(bytes: &[u8]) -> Option<String> {
    let [0, length, rest @ ..] = bytes else {
        return None;
    };
    let text = rest.get(..usize::from(*length).checked_sub(1)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

//! Lists that may be written as mappings, texts that may be lists.

use super::Reader;
use crate::diagnostic::Place;
use crate::yaml::{Data, Entry, Map, Node, Tag};

fn is_scalar(node: &Node) -> bool {
    !matches!(node.data, Data::List(_) | Data::Map(_))
}

/// A text is a list of one.
pub(crate) fn one_or_more(_: &mut Reader<'_>, node: Node) -> Option<Node> {
    match is_scalar(&node) && !node.is_null() {
        true => {
            let place = node.place;
            Some(Node::new(Data::List(vec![node]), place))
        }
        false => Some(node),
    }
}

/// `[NAME=value]` becomes `{NAME: value}`; a name alone is empty.
pub(crate) fn pairs(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let null = |place: Place| Node::text("", place);
    let mut node = from_list(reader, node, null)?;
    // `NAME:` in a mapping says the same.
    if let Some(map) = node.as_map_mut() {
        for entry in map.values_mut() {
            if entry.node.is_null() && entry.node.tag == Tag::None {
                entry.node = null(entry.node.place);
            }
        }
    }
    Some(node)
}

/// The same; a name alone is null: its value is the environment's.
pub(crate) fn variables(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    from_list(reader, node, |place| Node::new(Data::Null, place))
}

fn from_list(reader: &mut Reader<'_>, node: Node, alone: fn(Place) -> Node) -> Option<Node> {
    let Data::List(list) = node.data else {
        return Some(node);
    };
    let mut map = Map::with_capacity(list.len());
    for item in list {
        let place = item.place;
        let Some(text) = item.as_text().filter(|_| !item.is_null()) else {
            let hint = "items are NAME=value; or take the `-` away for a mapping";
            reader.expected::<()>("a text NAME=value", &item, hint);
            continue;
        };
        let (name, value) = match split_pair(text) {
            Some((name, value)) => (name, Node::text(value, place)),
            None => (text, alone(place)),
        };
        if name.is_empty() {
            reader.complain(
                place,
                format!("{text:?} has no name"),
                "items are NAME=value",
            );
            continue;
        }
        map.insert(
            name.to_owned(),
            Entry {
                key: place,
                node: value,
            },
        );
    }
    Some(Node::new(Data::Map(map), node.place))
}

/// At the first `=` that is not within `${...}`.
fn split_pair(text: &str) -> Option<(&str, &str)> {
    let mut open = 0_u32;
    let at = text.bytes().position(|byte| {
        match byte {
            b'{' => open += 1,
            b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        byte == b'=' && open == 0
    })?;
    Some((&text[..at], &text[at + 1..]))
}

/// A list of names becomes a mapping of names to nothing.
pub(crate) fn names(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let Data::List(list) = node.data else {
        return Some(node);
    };
    let mut map = Map::with_capacity(list.len());
    for item in list {
        let place = item.place;
        let Some(name) = item.as_text().filter(|_| !item.is_null()) else {
            reader.expected::<()>("a name", &item, "items are names: `- backend`");
            continue;
        };
        let node = Node::new(Data::Null, place);
        map.insert(name.to_owned(), Entry { key: place, node });
    }
    Some(Node::new(Data::Map(map), node.place))
}

/// `HOST:ADDRESS`, `HOST=ADDRESS`, or a mapping of hosts to addresses: a list of
/// `HOST=ADDRESS`.
pub(crate) fn hosts(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let mut list = Vec::new();
    match node.data {
        Data::List(items) => {
            for item in items {
                let Some(text) = item.as_text() else {
                    reader.expected::<()>("a text HOST=ADDRESS", &item, "write `- db=10.0.0.5`");
                    continue;
                };
                match text.split_once('=').or_else(|| text.split_once(':')) {
                    Some((host, address)) => {
                        list.extend(host_line(reader, host, address, item.place))
                    }
                    None if reader.lenient => list.push(item),
                    None => {
                        let message = format!("{text:?} has no address");
                        reader.complain(item.place, message, "write HOST=ADDRESS");
                    }
                }
            }
        }
        Data::Map(map) => {
            for (host, entry) in map {
                let place = entry.node.place;
                let addresses = match entry.node.data {
                    Data::List(addresses) => addresses,
                    _ => vec![entry.node],
                };
                for address in addresses {
                    let Some(address) = address.as_text() else {
                        reader.expected::<()>("an address", &address, "write `db: 10.0.0.5`");
                        continue;
                    };
                    list.extend(host_line(reader, &host, address, place));
                }
            }
        }
        _ => return reader.expected("a list or a mapping", &node, "write `- db=10.0.0.5`"),
    }
    Some(Node::new(Data::List(list), node.place))
}

fn host_line(reader: &mut Reader<'_>, host: &str, address: &str, place: Place) -> Option<Node> {
    let variable = reader.lenient && address.contains('$');
    let address = match address {
        "host-gateway" => Ok(address.to_owned()),
        _ if variable => Ok(address.to_owned()),
        address => super::address(address),
    };
    match address {
        Ok(address) => Some(Node::text(format!("{host}={address}"), place)),
        Err(complaint) => {
            reader.complain(place, complaint.message, complaint.hint);
            None
        }
    }
}

/// `default`, `[ID=PATH]` or a mapping: a list of `ID` and `ID=PATH`.
pub(crate) fn ssh(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let Data::Map(map) = node.data else {
        return one_or_more(reader, node);
    };
    let items = map.into_iter().map(|(id, entry)| {
        let path = entry.node.as_text().filter(|path| !path.is_empty());
        let text = match path {
            Some(path) => format!("{id}={path}"),
            None => id,
        };
        Node::text(text, entry.node.place)
    });
    Some(Node::new(Data::List(items.collect()), node.place))
}

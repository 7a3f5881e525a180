//! Two trees become one (compose specification, "Merge and override"). Both are
//! in long form; the tables say what is done with each key.

use std::collections::HashMap;

use crate::diagnostic::Place;
use crate::schema::{Merge, Record, Shape};
use crate::yaml::{Data, Map, Node, Tag};

/// Merges a later record into an earlier one.
pub(crate) fn merge_records(base: &mut Node, later: Node, record: &Record) {
    let (Data::Map(map), Data::Map(later)) = (&mut base.data, later.data) else {
        return;
    };
    for (key, entry) in later {
        let field = record.field(&key);
        if entry.node.tag == Tag::Reset {
            map.shift_remove(&key);
            continue;
        }
        let earlier = map
            .get_mut(&key)
            .filter(|earlier| earlier.node.tag != Tag::Reset);
        let Some(earlier) = earlier else {
            map.insert(key, entry);
            continue;
        };
        match field {
            Some(field) if entry.node.tag == Tag::None => {
                merge(&mut earlier.node, entry.node, &field.shape, field.merge);
            }
            _ => earlier.node = without_tag(entry.node),
        }
    }
}

fn without_tag(node: Node) -> Node {
    Node {
        tag: Tag::None,
        ..node
    }
}

fn merge(base: &mut Node, later: Node, shape: &Shape, rule: Merge) {
    match rule {
        Merge::Replace => *base = later,
        Merge::Append => join(base, later, None),
        Merge::Keyed(key) => join(base, later, Some((key, false))),
        Merge::Joined(key) => join(base, later, Some((key, true))),
        Merge::SameDriver => {
            let driver = |node: &Node| node.text_at("driver").map(str::to_owned);
            let (before, after) = (driver(base), driver(&later));
            match before == after || before.is_none() || after.is_none() {
                true => merge(base, later, shape, Merge::Usual),
                false => *base = later,
            }
        }
        Merge::Usual => usual(base, later, shape),
    }
}

fn usual(base: &mut Node, later: Node, shape: &Shape) {
    match shape {
        Shape::Nullable(inner) | Shape::Form(_, inner) if !matches!(inner, Shape::Any) => {
            usual(base, later, inner);
        }
        Shape::Record(record) if base.as_map().is_some() && later.as_map().is_some() => {
            merge_records(base, later, record);
        }
        Shape::Map(value) | Shape::Named(value) => merge_maps(base, later, value),
        Shape::List(_) => join(base, later, Some((whole, false))),
        // A key without a value does not take away what is there.
        Shape::Record(_) if later.is_null() => {}
        _ => *base = later,
    }
}

fn merge_maps(base: &mut Node, later: Node, value: &Shape) {
    if later.is_null() {
        return;
    }
    let Data::Map(map) = &mut base.data else {
        *base = later;
        return;
    };
    let Data::Map(later) = later.data else {
        return;
    };
    for (key, entry) in later {
        match entry.node.tag {
            Tag::Reset => {
                map.shift_remove(&key);
            }
            Tag::Override => {
                let node = without_tag(entry.node);
                map.insert(key, crate::yaml::Entry { node, ..entry });
            }
            Tag::None => match map.get_mut(&key) {
                Some(earlier) if earlier.node.tag == Tag::Reset => *earlier = entry,
                Some(earlier) => usual(&mut earlier.node, entry.node, value),
                None => {
                    map.insert(key, entry);
                }
            },
        }
    }
}

/// The text of an item, as its key.
fn whole(node: &Node) -> String {
    match node.as_text() {
        Some(text) => text.to_owned(),
        None => serde_json::to_string(node).unwrap_or_default(),
    }
}

type Key = fn(&Node) -> String;

/// Lists one after the other. With a key, a later item takes the place of an
/// earlier one, or is merged into it.
fn join(base: &mut Node, later: Node, key: Option<(Key, bool)>) {
    let Data::List(list) = &mut base.data else {
        *base = later;
        return;
    };
    let Data::List(later) = later.data else {
        return;
    };
    list.extend(later);
    if let Some((key, merged)) = key {
        unique(list, key, merged);
    }
}

fn unique(list: &mut Vec<Node>, key: Key, merged: bool) {
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(list.len());
    let mut kept: Vec<Node> = Vec::with_capacity(list.len());
    for node in list.drain(..) {
        let name = key(&node);
        match seen.get(&name) {
            Some(at) => match (&mut kept[*at].data, node.data) {
                (Data::Map(earlier), Data::Map(later)) if merged => earlier.extend(later),
                (_, data) => kept[*at] = Node::new(data, node.place),
            },
            None => {
                seen.insert(name, kept.len());
                kept.push(node);
            }
        }
    }
    *list = kept;
}

/// De-duplicates all lists of a record, and takes out what `!reset` left when
/// there was nothing before it.
pub(crate) fn settle(node: &mut Node, record: &Record) {
    let Data::Map(map) = &mut node.data else {
        return;
    };
    map.retain(|_, entry| entry.node.tag != Tag::Reset);
    for (key, entry) in map {
        entry.node.tag = Tag::None;
        if let Some(field) = record.field(key) {
            settle_value(&mut entry.node, &field.shape, field.merge);
        }
    }
}

fn settle_value(node: &mut Node, shape: &Shape, rule: Merge) {
    let key: Option<(Key, bool)> = match (rule, shape) {
        (Merge::Keyed(key), _) => Some((key, false)),
        (Merge::Joined(key), _) => Some((key, true)),
        (Merge::Usual, _) => Some((whole as Key, false)),
        _ => None,
    };
    match shape {
        Shape::Nullable(inner) | Shape::Form(_, inner) => settle_value(node, inner, rule),
        Shape::Record(record) => settle(node, record),
        Shape::Map(value) | Shape::Named(value) => {
            if let Some(map) = node.as_map_mut() {
                map.retain(|_, entry| entry.node.tag != Tag::Reset);
                for entry in map.values_mut() {
                    entry.node.tag = Tag::None;
                    settle_value(&mut entry.node, value, Merge::Usual);
                }
            }
        }
        Shape::List(item) => {
            if let Data::List(list) = &mut node.data {
                if let Some((key, merged)) = key {
                    unique(list, key, merged);
                }
                for node in list {
                    settle_value(node, item, Merge::Replace);
                }
            }
        }
        _ => {}
    }
}

/// Tells about keys that must be there and are not.
pub(crate) fn required(
    node: &Node,
    record: &Record,
    path: &str,
    tell: &mut dyn FnMut(Place, String, String),
) {
    let Some(map) = node.as_map() else {
        return;
    };
    for key in record.required {
        if !map.contains_key(*key) {
            let message = format!("{path}: the key `{key}` is missing");
            let hint = format!("a {} needs {}", record.what, record.required.join(" and "));
            tell(node.place, message, hint);
        }
    }
    for (key, entry) in map {
        if let Some(field) = record.field(key) {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            required_value(&entry.node, &field.shape, &path, tell);
        }
    }
}

fn required_value(
    node: &Node,
    shape: &Shape,
    path: &str,
    tell: &mut dyn FnMut(Place, String, String),
) {
    match (shape, &node.data) {
        (Shape::Nullable(inner) | Shape::Form(_, inner), _) => {
            required_value(node, inner, path, tell);
        }
        (Shape::Record(record), Data::Map(_)) => required(node, record, path, tell),
        (Shape::Map(value) | Shape::Named(value), Data::Map(map)) if !is_scalar(value) => {
            for (key, entry) in map {
                required_value(&entry.node, value, &format!("{path}.{key}"), tell);
            }
        }
        (Shape::List(item), Data::List(list)) if !is_scalar(item) => {
            for (index, node) in list.iter().enumerate() {
                required_value(node, item, &format!("{path}[{index}]"), tell);
            }
        }
        _ => {}
    }
}

fn is_scalar(shape: &Shape) -> bool {
    match shape {
        Shape::Nullable(inner) | Shape::Form(_, inner) => is_scalar(inner),
        Shape::Record(_) | Shape::List(_) | Shape::Map(_) | Shape::Named(_) => false,
        _ => true,
    }
}

/// Puts keys into the order in which Compose prints them: those of records as
/// in the tables, names by the alphabet, extensions last.
pub(crate) fn arrange(node: &mut Node, record: &Record) {
    let Data::Map(map) = &mut node.data else {
        return;
    };
    let mut old = std::mem::take(map);
    for field in record.fields {
        if let Some((key, mut entry)) = old.swap_remove_entry(field.key) {
            arrange_value(&mut entry.node, &field.shape);
            map.insert(key, entry);
        }
    }
    old.sort_unstable_keys();
    map.extend(old);
}

fn arrange_value(node: &mut Node, shape: &Shape) {
    match (shape, &mut node.data) {
        (Shape::Nullable(inner) | Shape::Form(_, inner), _) => arrange_value(node, inner),
        (Shape::Record(record), _) => arrange(node, record),
        (Shape::Map(value) | Shape::Named(value), Data::Map(map)) => {
            map.sort_unstable_keys();
            for entry in map.values_mut() {
                arrange_value(&mut entry.node, value);
            }
        }
        (Shape::List(item), Data::List(list)) => {
            list.iter_mut().for_each(|node| arrange_value(node, item));
        }
        _ => {}
    }
}

/// Never seen, but needed where an empty tree starts.
pub(crate) fn empty() -> Node {
    Node::new(Data::Map(Map::new()), Place::default())
}

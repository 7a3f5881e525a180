//! Short forms of single attributes.

use isola_runtime::workload::Isolation;

use super::{Reader, one_or_more};
use crate::units;
use crate::yaml::{Data, Entry, Map, Node};

fn is_word(node: &Node) -> bool {
    node.as_text().is_some() && !node.is_null()
}

/// A text becomes a record with one key.
fn with_key(node: Node, key: &str) -> Node {
    match is_word(&node) {
        true => Node::record(node.place, [(key, node)]),
        false => node,
    }
}

/// A text is the context. Paths become absolute; addresses of the net and names
/// of services stay.
pub(crate) fn build(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let mut node = with_key(node, "context");
    if let Some(context) = node.get_mut("context") {
        locate(reader, context);
    }
    if let Some(contexts) = node.remove("additional_contexts") {
        let mut contexts = super::pairs(reader, contexts)?;
        if let Some(map) = contexts.as_map_mut() {
            map.values_mut()
                .for_each(|entry| locate(reader, &mut entry.node));
        }
        node.set("additional_contexts", contexts);
    }
    Some(node)
}

fn locate(reader: &Reader<'_>, node: &mut Node) {
    let Some(text) = node.as_text() else {
        return;
    };
    let remote = text.contains("://")
        || text.starts_with("git@")
        || text.starts_with("github.com/")
        || text.starts_with("service:")
        || reader.lenient && text.contains('$');
    if !remote && !node.is_null() {
        node.data = Data::Text(reader.host_path(text));
    }
}

/// A text is the service.
pub(crate) fn extends(_: &mut Reader<'_>, node: Node) -> Option<Node> {
    Some(with_key(node, "service"))
}

/// A text is the path.
pub(crate) fn include(_: &mut Reader<'_>, node: Node) -> Option<Node> {
    Some(with_key(node, "path"))
}

/// A text is the source.
pub(crate) fn file_reference(_: &mut Reader<'_>, node: Node) -> Option<Node> {
    Some(with_key(node, "source"))
}

/// A path, or a list of paths and records.
pub(crate) fn env_files(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let node = match node.data {
        // A single record is not in the specification, but can mean one thing only.
        Data::Map(_) => Node::new(Data::List(vec![node.clone()]), node.place),
        _ => one_or_more(reader, node)?,
    };
    let Data::List(list) = node.data else {
        return Some(node);
    };
    let items = list
        .into_iter()
        .map(|item| with_key(item, "path"))
        .collect();
    Some(Node::new(Data::List(items), node.place))
}

/// A list of names: each has been started, and must be there.
pub(crate) fn depends_on(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    if node.as_list().is_none() {
        return Some(node);
    }
    let mut node = super::names(reader, node)?;
    if let Some(map) = node.as_map_mut() {
        for entry in map.values_mut() {
            let place = entry.key;
            entry.node = Node::record(
                place,
                [
                    ("condition", Node::text("service_started", place)),
                    ("required", Node::new(Data::Bool(true), place)),
                ],
            );
        }
    }
    Some(node)
}

/// `all` is -1.
pub(crate) fn device_count(_: &mut Reader<'_>, node: Node) -> Option<Node> {
    match node.as_text() {
        Some("all") => Some(Node::new(Data::Int(-1), node.place)),
        _ => Some(node),
    }
}

/// `all`, or a list of records.
pub(crate) fn gpus(_: &mut Reader<'_>, node: Node) -> Option<Node> {
    if node.as_text() != Some("all") {
        return Some(node);
    }
    let place = node.place;
    let all = Node::record(place, [("count", Node::new(Data::Int(-1), place))]);
    Some(Node::new(Data::List(vec![all]), place))
}

/// `external: {name: X}` is the old way to write `external: true` and `name: X`.
pub(crate) fn external(reader: &mut Reader<'_>, mut node: Node) -> Option<Node> {
    let Some(external) = node.get_mut("external") else {
        return Some(node);
    };
    let Data::Map(map) = &mut external.data else {
        return Some(node);
    };
    let name = map.shift_remove("name");
    if let Some((key, entry)) = map.iter().find(|(key, _)| !key.starts_with("x-")) {
        let message = format!("unknown key `{key}` of external");
        reader.complain(entry.key, message, "write `external: true` and `name: ...`");
        return None;
    }
    external.data = Data::Bool(true);
    if let Some(Entry { key, node: name }) = name {
        if node.get("name").is_some() {
            let hint = "`name` beside `external: true` is the one to keep";
            reader.complain(key, "the name is given twice", hint);
            return None;
        }
        node.set("name", name);
    }
    Some(node)
}

/// Microseconds, or a duration.
pub(crate) fn microseconds(_: &mut Reader<'_>, node: Node) -> Option<Node> {
    let text = node.as_text().unwrap_or_default();
    let unit = text.ends_with('s') || text.ends_with('m') || text.ends_with('h');
    match units::duration(text).filter(|_| unit) {
        Some(nanos) => {
            let micros = i64::try_from(nanos / 1_000).unwrap_or(i64::MAX);
            Some(Node::new(Data::Int(micros), node.place))
        }
        None => Some(node),
    }
}

/// A number for both limits, or `soft` and `hard`; -1 is no limit.
pub(crate) fn ulimit(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let limit = crate::schema::Shape::Int(-1, i64::MAX);
    let Data::Map(map) = node.data else {
        return reader.read(node, &limit);
    };
    let mut read = Map::new();
    for (key, entry) in map {
        if key.starts_with("x-") {
            read.insert(key, entry);
        } else if matches!(key.as_str(), "soft" | "hard") {
            let step = format!(".{key}");
            let node = reader.within(&step, |reader| reader.read(entry.node, &limit))?;
            read.insert(
                key,
                Entry {
                    key: entry.key,
                    node,
                },
            );
        } else {
            let message = format!("unknown key `{key}`");
            reader.complain(
                entry.key,
                message,
                "a limit is a number, or has `soft` and `hard`",
            );
        }
    }
    let place = node.place;
    let mut whole = Node::new(Data::Map(Map::new()), place);
    for key in ["soft", "hard"] {
        match read.shift_remove(key) {
            Some(entry) => whole.set(key, entry.node),
            None => {
                let message = format!("the key `{key}` is missing");
                reader.complain(place, message, "give both, or one number for both");
                return None;
            }
        }
    }
    let value = |key: &str| match whole.get(key).map(|node| &node.data) {
        Some(Data::Int(-1)) => Some(i64::MAX),
        Some(Data::Int(value)) => Some(*value),
        _ => None,
    };
    if let (Some(soft), Some(hard)) = (value("soft"), value("hard"))
        && soft > hard
    {
        let hint = "the soft limit is the one that holds; it can be at most the hard one";
        reader.complain(place, "the soft limit is above the hard one", hint);
        return None;
    }
    Some(whole)
}

/// A wall, or several in the order in which they are to be tried.
pub(crate) fn isolation(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let place = node.place;
    let text = match &node.data {
        Data::List(list) => {
            let words: Option<Vec<&str>> = list.iter().map(Node::as_text).collect();
            words.map(|words| words.join(","))
        }
        _ => node.as_text().map(str::to_owned),
    };
    let Some(text) = text.filter(|_| !node.is_null()) else {
        return reader.expected("a wall", &node, "there are container, vm and emulated");
    };
    if reader.unread(&node) {
        return Some(node);
    }
    // Docker's word for its own choice.
    if text == "default" {
        return Some(Node::text(text, place));
    }
    match Isolation::parse_list("isolation", &text) {
        Ok(walls) => {
            let names: Vec<&str> = walls.into_iter().map(Isolation::name).collect();
            Some(Node::text(names.join(","), place))
        }
        Err(error) => {
            let hint = match text.as_str() {
                "hyperv" | "kata" | "krun" | "microvm" => "did you mean `vm`?".to_owned(),
                "process" | "runc" => "did you mean `container`?".to_owned(),
                _ => error
                    .hint
                    .unwrap_or_else(|| "there are container, vm and emulated".into()),
            };
            reader.complain(place, error.message, hint);
            None
        }
    }
}

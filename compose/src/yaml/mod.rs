//! YAML as a tree that knows where everything was written.

mod parse;
mod plain;

use indexmap::IndexMap;
use serde::ser::{Serialize, SerializeMap, Serializer};

pub(crate) use parse::parse;
pub(crate) use plain::resolve;

use crate::diagnostic::Place;

/// A value with its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) data: Data,
    pub(crate) place: Place,
    pub(crate) tag: Tag,
}

/// What a value is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Data {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A scalar without quotes, as written: what it is, the schema decides.
    Plain(String),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// What a merge does with a value, from the tags `!reset` and `!override`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tag {
    #[default]
    None,
    Reset,
    Override,
}

/// Keys in the order of the file.
pub(crate) type Map = IndexMap<String, Entry>;

/// A value in a map, with the place of its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Place,
    pub(crate) node: Node,
}

/// Places do not make values differ.
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.data == other.data
    }
}

impl Node {
    /// A value at a place.
    pub(crate) fn new(data: Data, place: Place) -> Node {
        Node {
            data,
            place,
            tag: Tag::None,
        }
    }

    /// A text at a place.
    pub(crate) fn text(text: impl Into<String>, place: Place) -> Node {
        Node::new(Data::Text(text.into()), place)
    }

    /// A map of texts and other nodes, all at one place.
    pub(crate) fn record<const N: usize>(place: Place, fields: [(&str, Node); N]) -> Node {
        let mut map = Map::with_capacity(N);
        for (key, node) in fields {
            let entry = Entry { key: place, node };
            map.insert(key.to_owned(), entry);
        }
        Node::new(Data::Map(map), place)
    }

    pub(crate) fn is_null(&self) -> bool {
        match &self.data {
            Data::Null => true,
            Data::Plain(text) => plain::is_null(text),
            _ => false,
        }
    }

    /// The text of a scalar.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Plain(text) | Data::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match &self.data {
            Data::List(list) => Some(list),
            _ => None,
        }
    }

    /// A value by key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key).map(|entry| &entry.node)
    }

    /// A value by key.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.as_map_mut()?.get_mut(key).map(|entry| &mut entry.node)
    }

    /// The text at a key.
    pub(crate) fn text_at(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// Puts a value at a key of a map; other nodes stay as they are.
    pub(crate) fn set(&mut self, key: &str, node: Node) {
        let place = node.place;
        if let Some(map) = self.as_map_mut() {
            map.insert(key.to_owned(), Entry { key: place, node });
        }
    }

    /// Takes a value out of a map; the order of the rest stays.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Node> {
        let entry = self.as_map_mut()?.shift_remove(key)?;
        Some(entry.node)
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "a boolean",
            Data::Int(_) | Data::Float(_) => "a number",
            Data::Text(_) => "a text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
            Data::Plain(text) => match resolve(text) {
                Data::Null => "nothing",
                Data::Bool(_) => "a boolean",
                Data::Int(_) | Data::Float(_) => "a number",
                _ => "a text",
            },
        }
    }

    /// Goes over all values that are no maps or lists.
    pub(crate) fn each_scalar(&mut self, visit: &mut impl FnMut(&mut Node)) {
        match &mut self.data {
            Data::List(list) => list.iter_mut().for_each(|node| node.each_scalar(visit)),
            Data::Map(map) => map
                .values_mut()
                .for_each(|entry| entry.node.each_scalar(visit)),
            _ => visit(self),
        }
    }
}

/// A number without a fraction, as which Compose prints it.
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64)
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.data {
            Data::Null => serializer.serialize_unit(),
            Data::Bool(value) => serializer.serialize_bool(*value),
            Data::Int(value) => serializer.serialize_i64(*value),
            Data::Float(value) => match whole(*value) {
                Some(value) => serializer.serialize_i64(value),
                None => serializer.serialize_f64(*value),
            },
            Data::Text(text) => serializer.serialize_str(text),
            Data::Plain(text) => Node::new(resolve(text), self.place).serialize(serializer),
            Data::List(list) => serializer.collect_seq(list),
            Data::Map(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, entry) in map {
                    out.serialize_entry(key, &entry.node)?;
                }
                out.end()
            }
        }
    }
}

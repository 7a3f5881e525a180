//! Walks a tree with its schema: checks every value and writes it in the one
//! long form, so that merging and everything after see no other. All errors of
//! a file are told, not only the first.

mod checks;
mod commands;
pub(crate) mod keys;
mod mounts;
mod paths;
mod ports;
mod records;
mod words;

use std::path::Path;

pub(crate) use checks::*;
pub use commands::words_of;
pub(crate) use commands::{command, health_test};
pub(crate) use mounts::{device, volume};
pub(crate) use paths::{absolute, clean};
pub(crate) use ports::ports;
pub(crate) use records::*;
pub(crate) use words::{hosts, names, one_or_more, pairs, ssh, variables};

use crate::diagnostic::{Place, Sink, did_you_mean, hint_among};
use crate::schema::{Complaint, Record, Shape};
use crate::units;
use crate::yaml::{Data, Entry, Map, Node, Tag};

/// What reading needs to know.
pub(crate) struct Reader<'a> {
    pub(crate) sink: &'a mut Sink,
    /// Relative paths start here.
    pub(crate) base: &'a Path,
    /// For `~`.
    pub(crate) home: Option<&'a str>,
    /// Values with variables are left as they are (`--no-interpolate`).
    pub(crate) lenient: bool,
    /// Paths are left as they are (`--no-path-resolution`).
    pub(crate) raw_paths: bool,
    /// Where the walk is: `services.web.ports[0]`.
    path: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        sink: &'a mut Sink,
        base: &'a Path,
        home: Option<&'a str>,
        lenient: bool,
    ) -> Reader<'a> {
        Reader {
            sink,
            base,
            home,
            lenient,
            raw_paths: false,
            path: String::new(),
        }
    }

    /// Reads a value as a shape. `None`: it can't be used, and that was told.
    pub(crate) fn read(&mut self, node: Node, shape: &Shape) -> Option<Node> {
        let (tag, place) = (node.tag, node.place);
        let items = node.as_list().unwrap_or_default();
        if let Some(item) = items.iter().find(|item| item.tag != Tag::None) {
            let message = "`!reset` and `!override` stand before values of keys, not of lists";
            let place = item.place;
            self.complain(place, message, "put the tag before the whole list");
            return None;
        }
        let mut node = self.untagged(node, shape)?;
        node.tag = tag;
        // Long forms that were made up stand where the short one stood.
        if node.place == Place::default() {
            node.place = place;
        }
        Some(node)
    }

    fn untagged(&mut self, node: Node, shape: &Shape) -> Option<Node> {
        match shape {
            Shape::Any => Some(settled(node)),
            Shape::Nullable(_) if node.is_null() => Some(Node::new(Data::Null, node.place)),
            Shape::Nullable(inner) => self.read(node, inner),
            Shape::Form(form, inner) => {
                let node = form(self, node)?;
                self.read(node, inner)
            }
            Shape::List(item) => self.list(node, item),
            Shape::Map(value) => self.map(node, value, false),
            Shape::Named(value) => self.map(node, value, true),
            Shape::Record(record) => self.record(node, record),
            _ => self.scalar(node, shape),
        }
    }

    fn list(&mut self, node: Node, item: &Shape) -> Option<Node> {
        if self.unread(&node) {
            return Some(node);
        }
        let Data::List(list) = node.data else {
            return self.expected(
                "a list",
                &node,
                "write each item on a line of its own: `- item`",
            );
        };
        let mut items = Vec::with_capacity(list.len());
        for (index, node) in list.into_iter().enumerate() {
            items.extend(self.within(&format!("[{index}]"), |reader| reader.read(node, item)));
        }
        Some(Node::new(Data::List(items), node.place))
    }

    fn map(&mut self, node: Node, value: &Shape, names: bool) -> Option<Node> {
        if self.unread(&node) {
            return Some(node);
        }
        let Data::Map(map) = node.data else {
            return self.expected("a mapping", &node, "write each entry as `name: value`");
        };
        let mut read = Map::with_capacity(map.len());
        for (key, entry) in map {
            if names && key.starts_with("x-") && entry.node.as_map().is_none() {
                read.insert(
                    key,
                    Entry {
                        key: entry.key,
                        node: settled(entry.node),
                    },
                );
                continue;
            }
            if names && !is_name(&key) {
                let hint = "names have letters, digits, `.`, `_` and `-`";
                self.complain(entry.key, format!("{key:?} can't be a name"), hint);
                continue;
            }
            if let Some(entry) = self.entry(&key, entry, value) {
                read.insert(key, entry);
            }
        }
        Some(Node::new(Data::Map(read), node.place))
    }

    /// The value of a key. A tag `!reset` needs no valid value.
    fn entry(&mut self, key: &str, entry: Entry, shape: &Shape) -> Option<Entry> {
        let place = entry.key;
        let node = match entry.node.tag {
            Tag::Reset => Node {
                data: Data::Null,
                ..entry.node
            },
            _ => {
                let step = if self.path.is_empty() {
                    key.to_owned()
                } else {
                    format!(".{key}")
                };
                self.within(&step, |reader| reader.read(entry.node, shape))?
            }
        };
        Some(Entry { key: place, node })
    }

    fn record(&mut self, node: Node, record: &Record) -> Option<Node> {
        if self.unread(&node) {
            return Some(node);
        }
        let Data::Map(map) = node.data else {
            let keys: Vec<&str> = record
                .fields
                .iter()
                .map(|field| field.key)
                .take(3)
                .collect();
            let hint = format!("its keys are {} and others", keys.join(", "));
            return self.expected("a mapping", &node, &hint);
        };
        let mut read = Map::with_capacity(map.len());
        for (key, entry) in map {
            if record.extensions && key.starts_with("x-") {
                read.insert(
                    key,
                    Entry {
                        key: entry.key,
                        node: settled(entry.node),
                    },
                );
                continue;
            }
            let Some(field) = record.field(&key) else {
                self.unknown(&key, entry.key, record);
                continue;
            };
            // A key without a value: nothing was said, where that can be.
            if entry.node.is_null() && entry.node.tag == Tag::None && may_be_absent(&field.shape) {
                continue;
            }
            if let Some(entry) = self.entry(&key, entry, &field.shape) {
                read.insert(key, entry);
            }
        }
        Some(Node::new(Data::Map(read), node.place))
    }

    fn unknown(&mut self, key: &str, place: Place, record: &Record) {
        let keys = record.fields.iter().map(|field| field.key);
        let hint = match did_you_mean(key, keys.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if record.extensions => {
                format!(
                    "a {} has no such key; a key of your own starts with `x-`",
                    record.what
                )
            }
            None => hint_among(key, keys),
        };
        self.complain(place, format!("unknown key `{key}`"), hint);
    }

    fn scalar(&mut self, node: Node, shape: &Shape) -> Option<Node> {
        let place = node.place;
        let (text, plain) = match &node.data {
            Data::Plain(text) => (text.as_str(), true),
            Data::Text(text) => (text.as_str(), false),
            // Forms write numbers and booleans themselves.
            Data::Bool(_) | Data::Int(_) | Data::Float(_) => return Some(node),
            _ => return self.expected(wanted(shape), &node, "write one value, not several"),
        };
        if node.is_null() {
            let hint = "write a value, or take the key away";
            return self.expected(wanted(shape), &node, hint);
        }
        if self.unread(&node) {
            return Some(Node::text(text, place));
        }
        let result = scalar_data(text, plain, shape, self);
        match result {
            Ok(data) => Some(Node::new(data, place)),
            Err(Complaint { message, hint }) => {
                self.complain(place, message, hint);
                None
            }
        }
    }

    /// A short form that can't be taken apart without the values of its variables.
    pub(crate) fn unread(&self, node: &Node) -> bool {
        self.lenient && node.as_text().is_some_and(|text| text.contains('$'))
    }

    /// Tells that something else was expected.
    pub(crate) fn expected<T>(&mut self, what: &str, node: &Node, hint: &str) -> Option<T> {
        let message = format!("{what} is needed here, not {}", node.kind());
        self.complain(node.place, message, hint);
        None
    }

    /// Tells about an error where the walk is.
    pub(crate) fn complain(
        &mut self,
        place: Place,
        message: impl AsRef<str>,
        hint: impl Into<String>,
    ) {
        let message = match self.path.as_str() {
            "" => message.as_ref().to_owned(),
            path => format!("{path}: {}", message.as_ref()),
        };
        self.sink.error(place, message, hint);
    }

    /// Does something one step further down.
    pub(crate) fn within<T>(&mut self, step: &str, run: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let result = run(self);
        self.path.truncate(length);
        result
    }

    /// A path of the host: `~` is the user's home, and what is relative starts
    /// in the project's folder.
    pub(crate) fn host_path(&self, text: &str) -> String {
        if self.raw_paths {
            return text.to_owned();
        }
        absolute(self.base, self.home, text)
            .to_string_lossy()
            .into_owned()
    }
}

/// Why a scalar can't be.
pub(crate) fn complaint(message: impl Into<String>, hint: impl Into<String>) -> Complaint {
    Complaint {
        message: message.into(),
        hint: hint.into(),
    }
}

fn scalar_data(
    text: &str,
    plain: bool,
    shape: &Shape,
    reader: &Reader<'_>,
) -> Result<Data, Complaint> {
    let boolean = plain
        .then(|| crate::yaml::resolve(text))
        .and_then(|data| match data {
            Data::Bool(value) => Some(value),
            _ => None,
        });
    match shape {
        Shape::Text | Shape::Path | Shape::Choice(_) | Shape::Checked(_) if boolean.is_some() => {
            Err(complaint(
                format!("a text is needed here, not the boolean {text}"),
                format!("quote it if the word is meant: \"{text}\""),
            ))
        }
        Shape::Text => Ok(Data::Text(text.to_owned())),
        Shape::Value => Ok(Data::Text(
            boolean.map_or(text.to_owned(), |value| value.to_string()),
        )),
        Shape::Path => Ok(Data::Text(reader.host_path(text))),
        Shape::Choice(words) if words.contains(&text) => Ok(Data::Text(text.to_owned())),
        Shape::Choice(words) => Err(complaint(
            format!("{text:?} is none of its values"),
            hint_among(text, words.iter().copied()),
        )),
        Shape::Checked(check) => check(text).map(Data::Text),
        Shape::Bool => boolean_word(text).map(Data::Bool),
        Shape::Int(least, most) => integer(text, *least, *most).map(Data::Int),
        Shape::Number => number(text).map(Data::Float),
        Shape::Bytes => match units::bytes(text) {
            Some(bytes) => Ok(Data::Text(bytes.to_string())),
            None => Err(complaint(
                format!("{text:?} is no size"),
                "sizes are bytes with an optional unit: 1024, 512k, 64m, 1.5g",
            )),
        },
        Shape::Duration => match units::duration(text) {
            Some(nanos) => Ok(Data::Text(units::show_duration(nanos))),
            None => Err(complaint(
                format!("{text:?} is no duration"),
                "durations have units: 500ms, 30s, 1m30s, 2h",
            )),
        },
        Shape::Mode => match units::mode(text) {
            Some(mode) => Ok(Data::Text(format!("0{mode:o}"))),
            None => Err(complaint(
                format!("{text:?} is no file mode"),
                "modes are octal: 0440, 0755",
            )),
        },
        _ => Ok(Data::Text(text.to_owned())),
    }
}

/// What a shape wants, for messages.
fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Bool => "true or false",
        Shape::Int(..) | Shape::Number => "a number",
        Shape::Bytes => "a size",
        Shape::Duration => "a duration",
        Shape::Mode => "a file mode",
        Shape::Path => "a path",
        _ => "a text",
    }
}

/// Whether a key with no value is as good as no key.
fn may_be_absent(shape: &Shape) -> bool {
    match shape {
        Shape::List(_) | Shape::Map(_) | Shape::Named(_) | Shape::Record(_) => true,
        Shape::Form(_, inner) => may_be_absent(inner),
        _ => false,
    }
}

/// All plain scalars as what they mean by themselves.
fn settled(mut node: Node) -> Node {
    node.each_scalar(&mut |node| {
        if let Data::Plain(text) = &node.data {
            node.data = crate::yaml::resolve(text);
        }
    });
    node
}

fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.bytes().all(known)
}

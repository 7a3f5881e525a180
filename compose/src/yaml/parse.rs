//! Text to documents: events of the parser are put together, anchors are
//! followed, merge keys carried out, and what YAML allows but no file should
//! have is refused (a key that comes twice, an alias bomb).

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::{Data, Entry, Map, Node, Tag};
use crate::diagnostic::{Diagnostic, Place};

/// Values that aliases may copy in all. Real files stay in the thousands; nine
/// levels of nine aliases would make 400 million.
const COPIES: usize = 250_000;

/// Levels of maps and lists.
const DEPTH: usize = 64;

/// Reads all documents of a file.
///
/// # Errors
/// The first thing that is not understood.
pub(crate) fn parse(file: u32, text: &str) -> Result<Vec<Node>, Diagnostic> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        file,
        ..Builder::default()
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| scan_error(file, text, &error))?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

/// The parser's own message; most often it is a tab.
fn scan_error(file: u32, text: &str, error: &ScanError) -> Diagnostic {
    let marker = error.marker();
    let place = place(file, marker.line(), marker.col());
    // The parser notices a tab at the next token: the line or the one before.
    let tab = text
        .lines()
        .enumerate()
        .skip(marker.line().saturating_sub(2))
        .take(2)
        .find_map(|(index, line)| Some((index, indenting_tab(line)?)));
    match tab {
        Some((line, column)) => Diagnostic::error(
            self::place(file, line + 1, column),
            "a tab stands where the indentation is",
            "YAML is indented by spaces alone; replace the tab",
        ),
        None => Diagnostic::error(
            place,
            format!("this is no YAML: {}", error.info()),
            "look at this line and the one before: indentation, colons, quotes and brackets",
        ),
    }
}

fn indenting_tab(line: &str) -> Option<usize> {
    let indentation = line.find(|c: char| c != ' ' && c != '\t' && c != '-')?;
    line.get(..indentation)?.find('\t')
}

fn place(file: u32, line: usize, column: usize) -> Place {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        file,
        line: number(line.max(1)),
        column: number(column + 1),
    }
}

#[derive(Default)]
struct Builder {
    file: u32,
    documents: Vec<Node>,
    open: Vec<Open>,
    /// Complete values with anchors, and how many values they hold.
    anchors: HashMap<usize, (Node, usize)>,
    copies: usize,
}

/// A map or list that is not complete.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<Key>,
    /// Values of `<<`, applied at the end: keys that are written win.
    merges: Vec<Node>,
}

struct Key {
    name: String,
    place: Place,
    merge: bool,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let place = place(self.file, span.start.line(), span.start.col());
        match event {
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| tag.into_owned());
                let plain = style == ScalarStyle::Plain;
                let (tag, plain) = scalar_tag(tag.as_ref(), plain, place)?;
                let data = match plain {
                    true => Data::Plain(text.into_owned()),
                    false => Data::Text(text.into_owned()),
                };
                let node = Node { data, place, tag };
                self.done(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let tag = merge_tag(tag.as_deref(), &["seq"], place)?;
                self.start(Data::List(Vec::new()), place, anchor, tag)
            }
            Event::MappingStart(anchor, tag) => {
                let tag = merge_tag(tag.as_deref(), &["map"], place)?;
                self.start(Data::Map(Map::new()), place, anchor, tag)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::DocumentStart(_) => {
                // Anchors end with their document.
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn start(
        &mut self,
        data: Data,
        place: Place,
        anchor: usize,
        tag: Tag,
    ) -> Result<(), Diagnostic> {
        if self.open.len() >= DEPTH {
            let message = format!("more than {DEPTH} levels of values within values");
            return Err(Diagnostic::error(
                place,
                message,
                "no compose file needs that many",
            ));
        }
        self.refuse_as_key(place, "a mapping or a list")?;
        self.open.push(Open {
            node: Node { data, place, tag },
            anchor,
            key: None,
            merges: Vec::new(),
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Diagnostic> {
        let Some(mut open) = self.open.pop() else {
            return Ok(());
        };
        for merge in std::mem::take(&mut open.merges) {
            merge_key(&mut open.node, merge)?;
        }
        self.done(open.node, open.anchor)
    }

    /// A key must be a scalar.
    fn refuse_as_key(&self, place: Place, what: &str) -> Result<(), Diagnostic> {
        let Some(open) = self.open.last() else {
            return Ok(());
        };
        match (&open.node.data, &open.key) {
            (Data::Map(_), None) => Err(Diagnostic::error(
                place,
                format!("{what} stands where a key must be"),
                "keys are words; quote a text that starts with `{`, `[` or `*`",
            )),
            _ => Ok(()),
        }
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Diagnostic> {
        self.refuse_as_key(place, "an alias")?;
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(Diagnostic::error(
                place,
                "this alias stands within the value that it names",
                "a value can't hold itself",
            ));
        };
        self.copies += size;
        if self.copies > COPIES {
            return Err(Diagnostic::error(
                place,
                format!("aliases make more than {COPIES} values of this file"),
                "aliases of aliases multiply; write out what is needed",
            ));
        }
        let node = node.clone();
        self.done(node, 0)
    }

    /// A value is complete: it goes into what is open, or is a document.
    fn done(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        if anchor != 0 {
            let size = count(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match (&mut open.node.data, open.key.take()) {
            (Data::List(list), _) => list.push(node),
            (Data::Map(map), None) => open.key = Some(as_key(&node, map)?),
            (Data::Map(_), Some(key)) if key.merge => open.merges.push(node),
            (Data::Map(map), Some(key)) => {
                let entry = Entry {
                    key: key.place,
                    node,
                };
                map.insert(key.name, entry);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A scalar as the key of a map that does not have it yet.
fn as_key(node: &Node, map: &Map) -> Result<Key, Diagnostic> {
    let name = node.as_text().unwrap_or_default().to_owned();
    let plain = matches!(node.data, Data::Plain(_));
    if plain && name.is_empty() {
        return Err(Diagnostic::error(
            node.place,
            "a key is missing before this colon",
            "write `key: value`",
        ));
    }
    if let Some(first) = map.get(&name) {
        return Err(Diagnostic::error(
            node.place,
            format!("the key `{name}` comes twice"),
            format!(
                "it was given in line {} already; keep one of them",
                first.key.line
            ),
        ));
    }
    Ok(Key {
        merge: plain && name == "<<",
        name,
        place: node.place,
    })
}

/// `<<: *defaults` or `<<: [*a, *b]`: what is there stays, and the earlier of a
/// list wins (yaml.org/type/merge.html).
fn merge_key(node: &mut Node, merge: Node) -> Result<(), Diagnostic> {
    let place = merge.place;
    match (merge.data, &mut node.data) {
        (Data::Map(from), Data::Map(map)) => {
            for (key, entry) in from {
                map.entry(key).or_insert(entry);
            }
            Ok(())
        }
        (Data::List(list), _) => list.into_iter().try_for_each(|from| merge_key(node, from)),
        _ => Err(Diagnostic::error(
            place,
            "`<<` takes a mapping, or a list of mappings",
            "write `<<: *name` where `&name` stands before a mapping",
        )),
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.data {
        Data::List(list) => list.iter().map(count).sum(),
        Data::Map(map) => map.values().map(|entry| count(&entry.node)).sum(),
        _ => 0,
    }
}

/// What a tag of a scalar says: what to do in a merge, and whether the scalar
/// is read as if it had no quotes.
fn scalar_tag(
    tag: Option<&saphyr_parser::Tag>,
    plain: bool,
    place: Place,
) -> Result<(Tag, bool), Diagnostic> {
    let known = ["str", "int", "bool", "float", "null"];
    let merge = merge_tag(tag, &known, place)?;
    let core = tag.filter(|tag| tag.is_yaml_core_schema());
    let plain = core.map_or(plain, |tag| tag.suffix != "str");
    Ok((merge, plain))
}

fn merge_tag(
    tag: Option<&saphyr_parser::Tag>,
    core: &[&str],
    place: Place,
) -> Result<Tag, Diagnostic> {
    let Some(tag) = tag else {
        return Ok(Tag::None);
    };
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "reset") => Ok(Tag::Reset),
        ("!", "override") => Ok(Tag::Override),
        // `! value`: YAML's non-specific tag.
        ("" | "!", "") | ("", "!") => Ok(Tag::None),
        (_, suffix) if tag.is_yaml_core_schema() && core.contains(&suffix) => Ok(Tag::None),
        _ => {
            let name = match tag.is_yaml_core_schema() {
                true => format!("!!{}", tag.suffix),
                false => format!("{}{}", tag.handle, tag.suffix),
            };
            Err(Diagnostic::error(
                place,
                format!("the tag `{name}` means nothing here"),
                "compose files have `!reset` and `!override`",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let show = |error: Diagnostic| {
            let place = error.place.unwrap_or_default();
            format!("{}:{}: {}", place.line, place.column, error.message)
        };
        let documents = parse(0, text).map_err(show)?;
        let texts: Vec<String> = documents
            .iter()
            .map(|node| serde_json::to_string(node).unwrap())
            .collect();
        Ok(texts.join(" "))
    }

    #[test]
    fn documents_become_trees() {
        for (text, tree) in [
            ("a: 1\nb: [x, 'y']", r#"{"a":1,"b":["x","y"]}"#),
            ("a: 1\n---\nb: 2\n", r#"{"a":1} {"b":2}"#),
            (
                "a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3",
                r#"{"a":{"p":1,"q":2},"b":{"q":3,"p":1}}"#,
            ),
            (
                "x: &x {p: 1}\ny: &y {p: 2, q: 2}\nb:\n  <<: [*x, *y]",
                r#"{"x":{"p":1},"y":{"p":2,"q":2},"b":{"p":1,"q":2}}"#,
            ),
            ("a: !!str 12\nb: !!int \"12\"", r#"{"a":"12","b":12}"#),
            (
                "a: |\n  x\n  y\nb: >-\n  x\n  y\n",
                r#"{"a":"x\ny\n","b":"x y"}"#,
            ),
            ("\u{feff}a: 1", r#"{"a":1}"#),
            ("'<<': 1", r#"{"<<":1}"#),
        ] {
            assert_eq!(read(text).as_deref(), Ok(tree), "{text}");
        }
    }

    #[test]
    fn what_no_file_should_have_is_refused() {
        for (text, error) in [
            ("a: 1\nb: 2\na: 3", "3:1: the key `a` comes twice"),
            ("a:\n\tb: 1", "2:1: a tab stands where the indentation is"),
            (
                "a: &x [*x]",
                "1:8: this alias stands within the value that it names",
            ),
            (
                "a:\n  <<: 3",
                "2:7: `<<` takes a mapping, or a list of mappings",
            ),
            ("a: !rest []", "1:4: the tag `!rest` means nothing here"),
            (
                "? [a]\n: b",
                "1:3: a mapping or a list stands where a key must be",
            ),
            (
                "a: !!binary aGk=",
                "1:4: the tag `!!binary` means nothing here",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), error, "{text}");
        }
        assert!(read("a: *nosuch").unwrap_err().contains("no YAML"));
        assert!(read("a: [1, 2").unwrap_err().contains("no YAML"));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&"- ".repeat(200)).unwrap_err().contains("levels"));
    }

    #[test]
    fn alias_bombs_do_not_go_off() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..=9 {
            let before = format!("*a{}", level - 1);
            let list = vec![before; 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        let started = std::time::Instant::now();
        assert!(read(&bomb).unwrap_err().contains("aliases make more than"));
        assert!(started.elapsed().as_secs() < 10);
    }
}

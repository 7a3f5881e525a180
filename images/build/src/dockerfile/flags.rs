//! `--name=value` between an instruction and its arguments.

use super::lines::Line;
use crate::error::{Error, Place, Result};

/// A flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) place: Place,
}

impl Flag {
    /// The value, which must be there.
    pub(super) fn value(self) -> Result<String> {
        self.value.filter(|value| !value.is_empty()).ok_or_else(|| {
            Error::at(
                self.place,
                format!("--{} needs a value: --{0}=...", self.name),
            )
        })
    }

    /// `--name`, `--name=true` or `--name=false`.
    pub(super) fn switch(self) -> Result<bool> {
        match self.value.as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Error::at(
                self.place,
                format!("--{} is true or false, not {other:?}", self.name),
            )),
        }
    }

    /// It is none of those that the instruction has.
    pub(super) fn unknown(&self, keyword: &str) -> Error {
        Error::at(self.place, format!("{keyword} has no flag --{}", self.name))
    }
}

/// The flags of an instruction, and the offset of what follows them.
pub(super) fn flags(line: &Line, escape: char) -> (Vec<Flag>, usize) {
    let text = &line.rest;
    let mut flags = Vec::new();
    let mut at = 0;
    while text[at..].starts_with("--") {
        let length = word_length(&text[at..], escape);
        let word = &text[at + 2..at + length];
        let place = line.place_of(at);
        at += length;
        at += text[at..].len() - text[at..].trim_start().len();
        if word.is_empty() {
            break;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        flags.push(Flag {
            name: name.to_owned(),
            value,
            place,
        });
    }
    (flags, at)
}

/// Up to a blank outside of quotes.
fn word_length(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return at,
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some('\'') => {}
            _ if c == escape => drop(chars.next()),
            _ => {}
        }
    }
    text.len()
}

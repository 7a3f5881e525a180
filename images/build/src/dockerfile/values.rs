//! What stands behind an instruction's word.

use super::command::{Command, json};
use super::lines::{Line, raw_words};
use super::model::*;
use crate::error::{Error, Result};

pub(super) fn command(line: &Line) -> Command {
    match line.rest.as_str() {
        "" => Command::Exec(Vec::new()),
        text => Command::parse(text),
    }
}

/// Words from an offset on, split at blanks outside of quotes.
pub(super) fn words(line: &Line, at: usize, escape: char) -> Vec<Word> {
    let words = raw_words(&line.rest[at..], escape).into_iter();
    let word = |(offset, text)| Word {
        text,
        place: line.place_of(at + offset),
    };
    words.map(word).collect()
}

/// A JSON array or words.
pub(super) fn list(line: &Line, at: usize, escape: char) -> Vec<Word> {
    let place = line.place_of(at);
    match json(&line.rest[at..]) {
        Some(texts) => {
            let word = |text| Word {
                text: quote(text, escape),
                place,
            };
            texts.into_iter().map(word).collect()
        }
        None => words(line, at, escape),
    }
}

/// Quotes and escapes of JSON are off already: those that are left are meant. Variables
/// are put in all the same.
pub(super) fn quote(text: String, escape: char) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\'') || c == escape {
            quoted.push(escape);
        }
        quoted.push(c);
    }
    quoted
}

/// `KEY=VALUE ...`, or the old `KEY VALUE` for a single one.
pub(super) fn pairs(line: &Line, escape: char) -> Result<Vec<(Word, Word)>> {
    let words = words(line, 0, escape);
    let Some(first) = words.first() else {
        return Ok(Vec::new());
    };
    if !first.text.contains('=') {
        let rest = line.rest[first.text.len()..].trim_start();
        if rest.is_empty() {
            let message = format!(
                "{} {} has no value: write {1}=VALUE",
                line.keyword, first.text
            );
            return Err(Error::at(first.place, message));
        }
        let place = line.place_of(line.rest.len() - rest.len());
        let value = Word {
            text: rest.to_owned(),
            place,
        };
        return Ok(vec![(first.clone(), value)]);
    }
    let pair = |word: Word| {
        let missing = || Error::at(word.place, format!("{:?} is not KEY=VALUE", word.text));
        let (key, value) = word.text.split_once('=').ok_or_else(missing)?;
        if key.is_empty() {
            return Err(missing());
        }
        let part = |text: &str| Word {
            text: text.to_owned(),
            place: word.place,
        };
        Ok((part(key), part(value)))
    };
    words.into_iter().map(pair).collect()
}

pub(super) fn args(line: &Line, escape: char) -> Result<Vec<Arg>> {
    let arg = |word: Word| {
        let (name, default) = match word.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.text.as_str(), None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(plain)
        {
            return Err(Error::at(
                word.place,
                format!("{name:?} can't be the name of an ARG"),
            ));
        }
        Ok(Arg {
            name: name.to_owned(),
            default: default.map(|text| Word {
                text: text.to_owned(),
                place: word.place,
            }),
            place: word.place,
        })
    };
    words(line, 0, escape).into_iter().map(arg).collect()
}

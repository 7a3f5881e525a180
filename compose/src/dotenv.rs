//! Files of variables: `.env`, `--env-file` and a service's `env_file`.
//!
//! ```text
//! # a comment
//! NAME=value # a comment, because a space stands before the sign
//! export NAME="with \n escapes and ${VARIABLES}"
//! NAME='as it is, $too'
//! NAME              the value of the environment, if it has one
//! ```

use crate::interpolate::{Wrong, fill, template};

/// Names and values in order; `None` is a name alone that the environment has
/// not.
pub(crate) type Pairs = Vec<(String, Option<String>)>;

/// What is wrong, and where: line and column from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) wrong: Wrong,
}

/// Reads a file. Values may use variables of `outer` and those of earlier lines;
/// `outer` wins.
pub(crate) fn parse(text: &str, outer: &dyn Fn(&str) -> Option<String>) -> Result<Pairs, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        text,
        at: 0,
        pairs: Pairs::new(),
        outer,
    };
    while reader.at < text.len() {
        reader.line()?;
    }
    Ok(reader.pairs)
}

/// Variables of a text that is no part of a project; a name alone that the environment
/// has not is left out. `Err`: the line, from 1, and what is wrong there.
///
/// # Errors
/// What is no variable.
pub fn variables_of(
    text: &str,
    outer: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, (u32, String)> {
    let pairs = parse(text, outer).map_err(|fault| (fault.line, fault.wrong.message))?;
    let set = pairs.into_iter();
    Ok(set
        .filter_map(|(name, value)| Some((name, value?)))
        .collect())
}

/// Reads a file of `format: raw`: `NAME=value` as it is, to the end of the line.
pub(crate) fn parse_raw(
    text: &str,
    outer: &dyn Fn(&str) -> Option<String>,
) -> Result<Pairs, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut pairs = Pairs::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), outer(line.trim_end())),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            let wrong = bad_name(name);
            return Err(Fault {
                line: number,
                column: 1,
                wrong,
            });
        }
        pairs.push((name.to_owned(), value));
    }
    Ok(pairs)
}

fn bad_name(name: &str) -> Wrong {
    Wrong {
        message: format!("{name:?} is no name of a variable"),
        hint: "lines are NAME=value; a comment starts with `#`".into(),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    pairs: Pairs,
    outer: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fault(&self, at: usize, message: impl Into<String>, hint: &str) -> Fault {
        self.wrong(
            at,
            Wrong {
                message: message.into(),
                hint: hint.into(),
            },
        )
    }

    fn wrong(&self, at: usize, wrong: Wrong) -> Fault {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Fault {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            wrong,
        }
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().find(|c| c != ' ' && c != '\t' && c != '\r');
        self.at = blanks.map_or(self.text.len(), |blanks| self.at + blanks);
    }

    fn skip_line(&mut self) {
        self.at = self
            .rest()
            .find('\n')
            .map_or(self.text.len(), |end| self.at + end + 1);
    }

    fn line(&mut self) -> Result<(), Fault> {
        self.skip_blanks();
        if self.rest().starts_with('\n') || self.rest().starts_with('#') || self.rest().is_empty() {
            self.skip_line();
            return Ok(());
        }
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            self.at += "export".len();
            self.skip_blanks();
        }
        let start = self.at;
        let known = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        let end = self.rest().find(|c| !known(c)).unwrap_or(self.rest().len());
        let name = self.rest()[..end].to_owned();
        self.at += end;
        self.skip_blanks();
        if name.is_empty() {
            let word = self.rest().split(['=', '\n']).next().unwrap_or_default();
            return Err(self.wrong(start, bad_name(word.trim_end())));
        }
        let value = match self.rest().chars().next() {
            None | Some('\n' | '#') => {
                self.skip_line();
                self.lookup(&name)
            }
            Some('=' | ':') => {
                self.at += 1;
                Some(self.value()?)
            }
            Some(_) => {
                let message = format!("`{name}` is followed by neither `=` nor the line's end");
                return Err(self.fault(
                    self.at,
                    message,
                    "lines are NAME=value, without spaces in the name",
                ));
            }
        };
        self.pairs.push((name, value));
        Ok(())
    }

    fn lookup(&self, name: &str) -> Option<String> {
        (self.outer)(name).or_else(|| {
            let pair = self.pairs.iter().rev().find(|(known, _)| known == name);
            pair.and_then(|(_, value)| value.clone())
        })
    }

    fn value(&mut self) -> Result<String, Fault> {
        self.skip_blanks();
        match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            _ => self.unquoted(),
        }
    }

    fn unquoted(&mut self) -> Result<String, Fault> {
        let start = self.at;
        let line = self.rest().split('\n').next().unwrap_or_default();
        self.skip_line();
        // A comment needs a space before it: `#` is usual in passwords and URLs.
        let comment = line
            .char_indices()
            .find(|(at, c)| *c == '#' && (*at == 0 || line[..*at].ends_with([' ', '\t'])))
            .map_or(line, |(at, _)| &line[..at]);
        self.expand(comment.trim_end(), start)
    }

    /// To the closing quote, over lines.
    fn quoted(&mut self, quote: char) -> Result<String, Fault> {
        let start = self.at;
        let text = &self.rest()[1..];
        let mut escaped = false;
        let end = text.char_indices().find(|(_, c)| {
            let closes = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let Some((end, _)) = end else {
            let message = format!("the quote {quote} is never closed");
            return Err(self.fault(start, message, "close it, or leave the quotes away"));
        };
        let inner = &text[..end];
        self.at += end + 2;
        self.skip_blanks();
        if !matches!(self.rest().chars().next(), None | Some('\n' | '#')) {
            let message = "something stands after the closing quote";
            return Err(self.fault(self.at, message, "put all of the value into the quotes"));
        }
        self.skip_line();
        match quote {
            '\'' => Ok(inner.replace("\\'", "'")),
            _ => self.expand(&unescape(inner), start),
        }
    }

    fn expand(&self, text: &str, start: usize) -> Result<String, Fault> {
        let filled =
            template(text).and_then(|parts| fill(&parts, &|name| self.lookup(name), &mut |_| {}));
        filled.map_err(|wrong| self.wrong(start, wrong))
    }
}

/// Escapes within double quotes. `\$` is a dollar that is no variable.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn lines_are_names_and_values() {
        for (text, expected) in [
            ("A=1\nB=2\n", vec![("A", "1"), ("B", "2")]),
            ("A = x y  # note\n", vec![("A", "x y")]),
            ("A=x#y\n", vec![("A", "x#y")]),
            ("A=#y\n", vec![("A", "")]),
            ("A=\n", vec![("A", "")]),
            ("  export A=1 \r\n", vec![("A", "1")]),
            ("A: yaml\n", vec![("A", "yaml")]),
            ("A='$x # y' # note", vec![("A", "$x # y")]),
            (r#"A="a\nb\"c\"" # note"#, vec![("A", "a\nb\"c\"")]),
            (r#"A="\$5 and ${HOME}""#, vec![("A", "$5 and /root")]),
            (
                "A=\"two\nlines\"\nB=2",
                vec![("A", "two\nlines"), ("B", "2")],
            ),
            (
                "A=1\nB=${A}2\nC=${N:-d}",
                vec![("A", "1"), ("B", "12"), ("C", "d")],
            ),
            ("HOME=/x\nB=$HOME", vec![("HOME", "/x"), ("B", "/root")]),
            ("HOME\n", vec![("HOME", "/root")]),
            ("# only\n\n   # this\n", vec![]),
            ("a.b-c[0]=1", vec![("a.b-c[0]", "1")]),
            ("A=it's", vec![("A", "it's")]),
        ] {
            let pairs = parse(text, &outer).unwrap();
            let pairs: Vec<(&str, &str)> = pairs
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or("(none)")))
                .collect();
            assert_eq!(pairs, expected, "{text:?}");
        }
    }

    #[test]
    fn faults_have_places() {
        for (text, place, message) in [
            (
                "A=1\nB C=2",
                (2, 3),
                "`B` is followed by neither `=` nor the line's end",
            ),
            ("=1", (1, 1), "\"\" is no name of a variable"),
            ("A=1\n  A=\"x\n", (2, 5), "the quote \" is never closed"),
            (
                "A='x' y",
                (1, 7),
                "something stands after the closing quote",
            ),
            ("A=${", (1, 3), "`${` has no closing brace"),
            (
                "A=${N:?gone}",
                (1, 3),
                "the variable `N` is required and not set or empty: gone",
            ),
        ] {
            let fault = parse(text, &outer).unwrap_err();
            assert_eq!((fault.line, fault.column), place, "{text:?}");
            assert_eq!(fault.wrong.message, message, "{text:?}");
        }
    }

    #[test]
    fn raw_files_are_taken_as_they_are() {
        let text = "# note\nA=\"$x\" # y\nB=\nHOME\nN\n";
        let value = |text: &str| Some(text.to_owned());
        let expected = vec![
            ("A".to_owned(), value("\"$x\" # y")),
            ("B".to_owned(), value("")),
            ("HOME".to_owned(), value("/root")),
            ("N".to_owned(), None),
        ];
        assert_eq!(parse_raw(text, &outer), Ok(expected));
        assert!(parse_raw("A B=1", &outer).is_err());
    }
}

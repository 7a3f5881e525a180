//! Words, quotes and variables (Dockerfile reference, "Environment replacement").

use crate::glob;

/// Looks a variable up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

type Outcome<T> = std::result::Result<T, String>;

/// Splits at blanks outside of quotes; quotes and escapes stay for [`expand`].
pub fn split_words(text: &str, escape: char) -> Vec<String> {
    super::lines::raw_words(text, escape)
        .into_iter()
        .map(|(_, word)| word)
        .collect()
}

/// Takes quotes and escapes off and puts variables in.
///
/// # Errors
/// A quote or brace without its end, a form that is not known, `${NAME:?why}` without
/// a value.
pub fn expand(text: &str, escape: char, lookup: Lookup<'_>) -> Outcome<String> {
    let mut words = Expander {
        rest: text,
        escape,
        lookup,
    };
    words.until(None)
}

/// Puts variables into a here-document: quotes are kept, an escape takes its meaning
/// from a `$`.
///
/// # Errors
/// As [`expand`].
pub fn expand_doc(text: &str, escape: char, lookup: Lookup<'_>) -> Outcome<String> {
    let mut words = Expander {
        rest: text,
        escape,
        lookup,
    };
    let mut out = String::new();
    while let Some(c) = words.next() {
        match c {
            '$' => out.push_str(&words.variable()?),
            c if c == escape && words.rest.starts_with(['$', escape]) => {
                out.extend(words.next());
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

struct Expander<'a> {
    rest: &'a str,
    escape: char,
    lookup: Lookup<'a>,
}

impl<'a> Expander<'a> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Up to the end, or to `stop`, which is taken.
    fn until(&mut self, stop: Option<char>) -> Outcome<String> {
        let mut out = String::new();
        while let Some(c) = self.next() {
            match c {
                _ if Some(c) == stop => return Ok(out),
                '\'' => self.single(&mut out)?,
                '"' => self.double(&mut out)?,
                '$' => out.push_str(&self.variable()?),
                c if c == self.escape => match self.next() {
                    Some(next) => out.push(next),
                    None => out.push(c),
                },
                c => out.push(c),
            }
        }
        match stop {
            Some('}') => Err("a `${` has no closing brace".into()),
            Some(stop) => Err(format!("`{stop}` is missing")),
            None => Ok(out),
        }
    }

    fn single(&mut self, out: &mut String) -> Outcome<()> {
        let end = self.rest.find('\'').ok_or("a single quote is not closed")?;
        out.push_str(&self.rest[..end]);
        self.rest = &self.rest[end + 1..];
        Ok(())
    }

    fn double(&mut self, out: &mut String) -> Outcome<()> {
        loop {
            match self.next().ok_or("a double quote is not closed")? {
                '"' => return Ok(()),
                '$' => out.push_str(&self.variable()?),
                c if c == self.escape => match self.rest.chars().next() {
                    Some(next) if next == '"' || next == '$' || next == self.escape => {
                        out.push(next);
                        self.next();
                    }
                    // Before anything else it stands for itself.
                    _ => out.push(c),
                },
                c => out.push(c),
            }
        }
    }

    /// What follows a `$`.
    fn variable(&mut self) -> Outcome<String> {
        if let Some(rest) = self.rest.strip_prefix('{') {
            self.rest = rest;
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".into());
        }
        Ok((self.lookup)(name).unwrap_or_default())
    }

    fn name(&mut self) -> &'a str {
        let rest = self.rest;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            // $1 and the like are one digit, as in a shell.
            end = 1;
        }
        self.rest = &rest[end..];
        &rest[..end]
    }

    fn braces(&mut self) -> Outcome<String> {
        let name = self.name();
        if name.is_empty() {
            return Err(format!("`${{{}` has no name", self.rest));
        }
        let value = (self.lookup)(name);
        let set = |colon: bool| value.clone().filter(|value| !colon || !value.is_empty());
        let mut operation = self.next().ok_or("a `${` has no closing brace")?;
        let colon = operation == ':';
        if colon {
            operation = self.next().ok_or("a `${` has no closing brace")?;
        }
        let plain = value.clone().unwrap_or_default();
        match operation {
            '}' if !colon => Ok(plain),
            '-' => {
                let word = self.until(Some('}'))?;
                Ok(set(colon).unwrap_or(word))
            }
            '+' => {
                let word = self.until(Some('}'))?;
                Ok(set(colon).map(|_| word).unwrap_or_default())
            }
            '?' => {
                let word = self.until(Some('}'))?;
                set(colon).ok_or_else(|| match word.is_empty() {
                    true => format!("{name} has no value"),
                    false => format!("{name}: {word}"),
                })
            }
            '#' | '%' if !colon => {
                let long = self.rest.starts_with(operation);
                if long {
                    self.next();
                }
                let pattern = self.until(Some('}'))?;
                Ok(match operation {
                    '#' => glob::strip_prefix(&plain, &pattern, long),
                    _ => glob::strip_suffix(&plain, &pattern, long),
                })
            }
            '/' if !colon => {
                let all = self.rest.starts_with('/');
                if all {
                    self.next();
                }
                let (pattern, replacement) = self.replacement()?;
                Ok(glob::replace(&plain, &pattern, &replacement, all))
            }
            other => Err(format!(
                "`${{{name}{}{other}` is no known form",
                if colon { ":" } else { "" }
            )),
        }
    }

    /// `PATTERN/REPLACEMENT}` or `PATTERN}`.
    fn replacement(&mut self) -> Outcome<(String, String)> {
        let before = self.rest;
        // The slash may be missing; then the pattern ends at the brace.
        let mut pattern = String::new();
        while let Some(c) = self.next() {
            match c {
                '/' => return Ok((pattern, self.until(Some('}'))?)),
                '}' => return Ok((pattern, String::new())),
                '$' => pattern.push_str(&self.variable()?),
                '\'' => self.single(&mut pattern)?,
                '"' => self.double(&mut pattern)?,
                c if c == self.escape => {
                    let next = self.next();
                    if next != Some('/') {
                        pattern.push('\\');
                    }
                    pattern.extend(next);
                }
                c => pattern.push(c),
            }
        }
        Err(format!("`{before}` has no closing brace"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "a" => "one",
            "path" => "/usr/local/bin",
            "empty" => "",
            "file" => "x.tar.gz",
            _ => return None,
        };
        Some(value.into())
    }

    #[test]
    fn variables_are_put_in() {
        for (text, value) in [
            ("plain", "plain"),
            ("$a-$none-${a}b", "one--oneb"),
            ("${none:-d$a}", "done"),
            ("${empty:-d}|${empty-d}", "d|"),
            ("${a:+yes}${none:+no}${empty+set}", "yesset"),
            ("'$a' \"$a\" \\$a", "$a one $a"),
            ("\"a\\\"b\\n\"", "a\"b\\n"),
            ("\\n", "n"),
            ("${path#*/}|${path##*/}", "usr/local/bin|bin"),
            ("${path%/*}|${path%%/*}", "/usr/local|"),
            ("${file%.*}|${file%%.*}", "x.tar|x"),
            (
                "${path/\\//_}|${path//\\//_}",
                "_usr/local/bin|_usr_local_bin",
            ),
            ("${a/n}", "oe"),
            ("${a:?needed}", "one"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("${none:-${a:-x}}", "one"),
            ("${none:-'a}b'}", "a}b"),
        ] {
            assert_eq!(expand(text, '\\', &lookup).as_deref(), Ok(value), "{text}");
        }
        assert_eq!(expand("`$a \\x", '`', &lookup).as_deref(), Ok("$a \\x"));
        for wrong in [
            "'a",
            "\"a",
            "${a",
            "${}",
            "${a:!x}",
            "${none:?why}",
            "${a:",
            "${a/x",
        ] {
            assert!(expand(wrong, '\\', &lookup).is_err(), "{wrong}");
        }
        let why = expand("${none:?it is needed}", '\\', &lookup).unwrap_err();
        assert_eq!(why, "none: it is needed");
    }

    #[test]
    fn here_documents_keep_their_quotes() {
        let text = "it's \"$a\" \\$a \\n\n";
        assert_eq!(
            expand_doc(text, '\\', &lookup).unwrap(),
            "it's \"one\" $a \\n\n"
        );
    }

    #[test]
    fn words_are_split_outside_of_quotes() {
        assert_eq!(
            split_words("a  'b c' d\\ e \"f\\\" g\"", '\\'),
            ["a", "'b c'", "d\\ e", "\"f\\\" g\""]
        );
        assert!(split_words("  ", '\\').is_empty());
    }
}

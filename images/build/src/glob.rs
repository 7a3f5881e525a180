//! Patterns: of paths in COPY (Go's `filepath.Match`), of `.dockerignore` (with `**`),
//! and of variables (as a shell has them, where `*` also matches slashes).

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`.
    Any,
    /// `*`.
    Star,
    /// `[...]`: whether it is negated, and ranges.
    Class(bool, Vec<(char, char)>),
    /// `**`, slashes included.
    Deep,
    /// Before [`Token::DeepIn`]: nothing, or what that matches.
    DeepFrom,
    /// `**/`: all up to a slash.
    DeepIn,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
    /// `*`, `?` and classes do not match slashes.
    path: bool,
}

impl Pattern {
    /// A pattern in which `*` stops at slashes.
    ///
    /// # Errors
    /// A class without its end, a backslash at the end.
    pub(crate) fn of_path(text: &str) -> Result<Pattern, String> {
        Ok(Pattern {
            tokens: tokens(text, true)?,
            path: true,
        })
    }

    /// A shell's pattern for the value of a variable. What is no pattern stands for
    /// itself.
    fn of_value(text: &str) -> Pattern {
        let literal = || text.chars().map(Token::Char).collect();
        Pattern {
            tokens: tokens(text, false).unwrap_or_else(|_| literal()),
            path: false,
        }
    }

    /// Whether all of `text` fits.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        // The states in which the pattern may be, one bit per token: no input makes
        // this slower than its length times the pattern's.
        let mut at = vec![false; self.tokens.len() + 1];
        at[0] = true;
        self.close(&mut at);
        for c in chars {
            let mut next = vec![false; at.len()];
            for (index, token) in self.tokens.iter().enumerate() {
                if !at[index] {
                    continue;
                }
                let slash = self.path && c == '/';
                match token {
                    Token::Deep => next[index] = true,
                    Token::DeepIn => {
                        next[index] = true;
                        next[index + 1] |= c == '/';
                    }
                    Token::Star if !slash => next[index] = true,
                    Token::Char(wanted) if *wanted == c => next[index + 1] = true,
                    Token::Any if !slash => next[index + 1] = true,
                    Token::Class(negated, ranges) if !slash => {
                        let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                        if inside != *negated {
                            next[index + 1] = true;
                        }
                    }
                    _ => {}
                }
            }
            self.close(&mut next);
            at = next;
        }
        at[self.tokens.len()]
    }

    /// Stars also match nothing.
    fn close(&self, at: &mut [bool]) {
        for (index, token) in self.tokens.iter().enumerate() {
            match token {
                Token::Star | Token::Deep if at[index] => at[index + 1] = true,
                Token::DeepFrom if at[index] => {
                    at[index + 1] = true;
                    at[index + 2] = true;
                }
                _ => {}
            }
        }
    }
}

fn tokens(text: &str, path: bool) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let token = match c {
            '*' if path && chars.peek() == Some(&'*') => {
                while chars.next_if_eq(&'*').is_some() {}
                match chars.next_if_eq(&'/') {
                    Some(_) => {
                        tokens.push(Token::DeepFrom);
                        Token::DeepIn
                    }
                    None => Token::Deep,
                }
            }
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Char(chars.next().ok_or("it ends with a backslash")?),
            '[' => {
                let negated = chars.next_if(|c| matches!(c, '^' | '!')).is_some();
                let mut ranges = Vec::new();
                loop {
                    let mut one = || {
                        let c = chars.next().ok_or("a `[` has no `]`")?;
                        match c {
                            '\\' => chars.next().ok_or("a `[` has no `]`"),
                            c => Ok(c),
                        }
                    };
                    let low = one()?;
                    if low == ']' && !ranges.is_empty() {
                        break;
                    }
                    let high = match chars.next_if_eq(&'-') {
                        Some(_) => match chars.next().ok_or("a `[` has no `]`")? {
                            '\\' => chars.next().ok_or("a `[` has no `]`")?,
                            ']' => {
                                ranges.extend([(low, low), ('-', '-')]);
                                break;
                            }
                            high => high,
                        },
                        None => low,
                    };
                    ranges.push((low, high));
                }
                Token::Class(negated, ranges)
            }
            c => Token::Char(c),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// Cuts the shortest or longest beginning that fits.
pub(crate) fn strip_prefix(value: &str, pattern: &str, longest: bool) -> String {
    let pattern = Pattern::of_value(pattern);
    let fits = |end: &usize| pattern.matches(&value[..*end]);
    let end = match longest {
        true => ends(value).rev().find(fits),
        false => ends(value).find(fits),
    };
    value[end.unwrap_or(0)..].to_owned()
}

/// Cuts the shortest or longest end that fits.
pub(crate) fn strip_suffix(value: &str, pattern: &str, longest: bool) -> String {
    let pattern = Pattern::of_value(pattern);
    let fits = |start: &usize| pattern.matches(&value[*start..]);
    let start = match longest {
        true => ends(value).find(fits),
        false => ends(value).rev().find(fits),
    };
    value[..start.unwrap_or(value.len())].to_owned()
}

/// Replaces the first match, or all: each the longest from the leftmost start.
pub(crate) fn replace(value: &str, pattern: &str, with: &str, all: bool) -> String {
    let pattern = Pattern::of_value(pattern);
    let mut out = String::new();
    let mut at = 0;
    while at < value.len() {
        let rest = &value[at..];
        let end = ends(rest)
            .rev()
            .find(|end| *end > 0 && pattern.matches(&rest[..*end]));
        match end {
            Some(end) => {
                out.push_str(with);
                at += end;
                if !all {
                    break;
                }
            }
            None => {
                let c = rest.chars().next().unwrap_or_default();
                out.push(c);
                at += c.len_utf8().max(1);
            }
        }
    }
    out.push_str(value.get(at..).unwrap_or_default());
    out
}

/// All offsets between characters.
fn ends(value: &str) -> impl DoubleEndedIterator<Item = usize> {
    value.char_indices().map(|(at, _)| at).chain([value.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match() {
        for (pattern, text, fits) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "d/a.txt", false),
            ("**/*.txt", "d/e/a.txt", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[]a]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("d/**", "d/e/f", true),
            ("**/a", "a", true),
            ("**/a", "b/c/a", true),
            ("**/a", "ba", false),
            ("d/**/a", "d/a", true),
            ("d/**/a", "d/x/y/a", true),
            ("d/**/a", "dx/a", false),
            ("", "", true),
            ("é*", "éa", true),
        ] {
            assert_eq!(
                Pattern::of_path(pattern).unwrap().matches(text),
                fits,
                "{pattern} {text}"
            );
        }
        for wrong in ["[a", "a\\", "[a-"] {
            assert!(Pattern::of_path(wrong).is_err(), "{wrong}");
        }
        let slow = Pattern::of_path(&"*a".repeat(40)).unwrap();
        assert!(!slow.matches(&"a".repeat(2000).replace('a', "aab")));
    }

    #[test]
    fn values_are_cut_and_replaced() {
        assert_eq!(strip_prefix("aXbXc", "*X", false), "bXc");
        assert_eq!(strip_prefix("aXbXc", "*X", true), "c");
        assert_eq!(strip_suffix("aXbXc", "X*", false), "aXb");
        assert_eq!(strip_suffix("aXbXc", "X*", true), "a");
        assert_eq!(strip_suffix("abc", "x*", true), "abc");
        assert_eq!(replace("a-b-c", "-", "+", false), "a+b-c");
        assert_eq!(replace("a-b-c", "-", "+", true), "a+b+c");
        assert_eq!(replace("äbä", "ä", "", true), "b");
    }
}

//! Variables in values: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`,
//! `${NAME:?message}`, `${NAME?message}`, `${NAME:+other}`, `${NAME+other}`, and
//! `$$` for a dollar (compose specification, "Interpolation"). What follows the
//! sign may hold variables again.

/// A text in parts.
pub(crate) type Template = Vec<Part>;

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Variable {
        name: String,
        rule: Option<(Rule, Template)>,
    },
}

/// What happens when a variable is or is not there. `empty`: an empty variable
/// counts as absent (the forms with a colon).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Default { empty: bool },
    Required { empty: bool },
    Other { empty: bool },
}

/// Why a text can't be used, with the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Wrong {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Wrong {
        Wrong {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// Variables within the default of a variable within...
const DEPTH: usize = 32;

/// Reads a text.
pub(crate) fn template(text: &str) -> Result<Template, Wrong> {
    parts(text, 0)
}

fn parts(text: &str, depth: usize) -> Result<Template, Wrong> {
    if depth > DEPTH {
        let message = format!("more than {DEPTH} variables within each other");
        return Err(Wrong::new(
            message,
            "put parts of it into variables of their own",
        ));
    }
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            plain.push('$');
            rest = after;
            continue;
        }
        let (part, after) = match after.strip_prefix('{') {
            Some(inner) => braced(inner, depth)?,
            None => named(after)?,
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(part);
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// Length of the name that a text starts with.
fn name_length(text: &str) -> usize {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    match text.as_bytes().first() {
        Some(first) if letter(*first) => text
            .bytes()
            .take_while(|byte| letter(*byte) || byte.is_ascii_digit())
            .count(),
        _ => 0,
    }
}

fn named(text: &str) -> Result<(Part, &str), Wrong> {
    let length = name_length(text);
    if length == 0 {
        let next: String = text.chars().take(1).collect();
        return Err(Wrong::new(
            format!("`${next}` is no variable"),
            "write `$$` for a dollar sign",
        ));
    }
    let (name, rest) = text.split_at(length);
    let part = Part::Variable {
        name: name.to_owned(),
        rule: None,
    };
    Ok((part, rest))
}

/// What is within `${` and `}`.
fn braced(text: &str, depth: usize) -> Result<(Part, &str), Wrong> {
    let Some(end) = closing(text) else {
        return Err(Wrong::new(
            format!("`${{{}` has no closing brace", shortened(text)),
            "write `${NAME}`, and `$$` for a dollar sign",
        ));
    };
    let (inner, rest) = (&text[..end], &text[end + 1..]);
    let length = name_length(inner);
    let (name, after) = inner.split_at(length);
    let form = |after: &str| -> Option<(Rule, usize)> {
        let (empty, sign) = match after.strip_prefix(':') {
            Some(sign) => (true, sign),
            None => (false, after),
        };
        let rule = match sign.bytes().next()? {
            b'-' => Rule::Default { empty },
            b'?' => Rule::Required { empty },
            b'+' => Rule::Other { empty },
            _ => return None,
        };
        Some((rule, if empty { 2 } else { 1 }))
    };
    let rule = match (length, after) {
        (0, _) => None,
        (_, "") => Some(None),
        (_, after) => form(after).map(Some),
    };
    let Some(rule) = rule else {
        return Err(Wrong::new(
            format!("`${{{}}}` is no variable", shortened(inner)),
            "the forms are ${V} ${V:-default} ${V-default} ${V:?message} ${V?message} \
             ${V:+other} ${V+other}; `$$` is a dollar sign",
        ));
    };
    let rule = match rule {
        Some((rule, sign)) => Some((rule, parts(&after[sign..], depth + 1)?)),
        None => None,
    };
    let part = Part::Variable {
        name: name.to_owned(),
        rule,
    };
    Ok((part, rest))
}

/// Where the brace that was opened before the text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(30) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// Puts the values in. `unset` hears about variables that are not there and
/// have no rule; they are empty.
pub(crate) fn fill(
    template: &[Part],
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut dyn FnMut(&str),
) -> Result<String, Wrong> {
    let mut text = String::new();
    for part in template {
        let (name, rule) = match part {
            Part::Text(plain) => {
                text.push_str(plain);
                continue;
            }
            Part::Variable { name, rule } => (name, rule),
        };
        let value = lookup(name);
        let Some((rule, operand)) = rule else {
            match value {
                Some(value) => text.push_str(&value),
                None => unset(name),
            }
            continue;
        };
        let (Rule::Default { empty } | Rule::Required { empty } | Rule::Other { empty }) = rule;
        let there = value.filter(|value| !(*empty && value.is_empty()));
        match (rule, there) {
            (Rule::Default { .. } | Rule::Required { .. }, Some(value)) => text.push_str(&value),
            (Rule::Default { .. }, None) | (Rule::Other { .. }, Some(_)) => {
                text.push_str(&fill(operand, lookup, unset)?);
            }
            (Rule::Other { .. }, None) => {}
            (Rule::Required { empty }, None) => {
                let reason = fill(operand, lookup, unset)?;
                return Err(missing(name, *empty, &reason));
            }
        }
    }
    Ok(text)
}

fn missing(name: &str, empty: bool, reason: &str) -> Wrong {
    let state = if empty { "not set or empty" } else { "not set" };
    let message = match reason {
        "" => format!("the variable `{name}` is required and {state}"),
        reason => format!("the variable `{name}` is required and {state}: {reason}"),
    };
    let hint = format!("set it in the environment or in `.env`: {name}=...");
    Wrong::new(message, hint)
}

/// Goes over all variables of a text, inner ones too.
pub(crate) fn variables<'a>(
    template: &'a [Part],
    visit: &mut dyn FnMut(&'a str, Option<(Rule, &'a [Part])>),
) {
    for part in template {
        if let Part::Variable { name, rule } = part {
            let rule = rule
                .as_ref()
                .map(|(rule, operand)| (*rule, operand.as_slice()));
            visit(name, rule);
            if let Some((_, operand)) = rule {
                variables(operand, visit);
            }
        }
    }
}

/// A template as it is written.
pub(crate) fn source(template: &[Part]) -> String {
    let mut text = String::new();
    for part in template {
        match part {
            Part::Text(plain) => text.push_str(&plain.replace('$', "$$")),
            Part::Variable { name, rule: None } => text.push_str(&format!("${{{name}}}")),
            Part::Variable {
                name,
                rule: Some((rule, operand)),
            } => {
                let sign = match rule {
                    Rule::Default { empty: true } => ":-",
                    Rule::Default { empty: false } => "-",
                    Rule::Required { empty: true } => ":?",
                    Rule::Required { empty: false } => "?",
                    Rule::Other { empty: true } => ":+",
                    Rule::Other { empty: false } => "+",
                };
                text.push_str(&format!("${{{name}{sign}{}}}", source(operand)));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<(String, Vec<String>), String> {
        let lookup = |name: &str| match name {
            "V" => Some("val".to_owned()),
            "E" => Some(String::new()),
            "D" => Some("a$b".to_owned()),
            _ => None,
        };
        let mut unset = Vec::new();
        let parts = template(text).map_err(|wrong| wrong.message)?;
        let text = fill(&parts, &lookup, &mut |name| unset.push(name.to_owned()))
            .map_err(|wrong| wrong.message)?;
        Ok((text, unset))
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$V", "val"),
            ("${V}", "val"),
            ("x$V-y", "xval-y"),
            ("$V$V", "valval"),
            ("$$V", "$V"),
            ("$$$V", "$val"),
            ("$$$$", "$$"),
            ("${V:-d}", "val"),
            ("${E:-d}", "d"),
            ("${E-d}", ""),
            ("${N:-d}", "d"),
            ("${N-d}", "d"),
            ("${N:-}", ""),
            ("${V:?e}", "val"),
            ("${E?e}", ""),
            ("${V:+a}", "a"),
            ("${E:+a}", ""),
            ("${E+a}", "a"),
            ("${N:+a}", ""),
            ("${N+a}", ""),
            ("${N:-${V}}", "val"),
            ("${N:-${M:-x${V}y}}", "xvaly"),
            ("${N:-a:b/c}", "a:b/c"),
            ("${N:-$$x}", "$x"),
            ("${N:-{\"a\": 1}}", "{\"a\": 1}"),
            ("${D}", "a$b"),
            ("${V:+$V-$V}", "val-val"),
            ("é$V é", "éval é"),
        ] {
            assert_eq!(run(text).unwrap().0, expected, "{text}");
        }
    }

    #[test]
    fn what_is_absent_is_told() {
        assert_eq!(
            run("${N} $M").unwrap(),
            (" ".into(), vec!["N".into(), "M".into()])
        );
        // The default of a variable that is there is never looked at.
        assert_eq!(run("${V:-${N:?no}}").unwrap().0, "val");
        for (text, error) in [
            (
                "${N:?}",
                "the variable `N` is required and not set or empty",
            ),
            (
                "${E:?say $V}",
                "the variable `E` is required and not set or empty: say val",
            ),
            ("${N?say}", "the variable `N` is required and not set: say"),
            ("$", "`$` is no variable"),
            ("$(date)", "`$(` is no variable"),
            ("$1", "`$1` is no variable"),
            ("${V", "`${V` has no closing brace"),
            ("${}", "`${}` is no variable"),
            ("${V/x/y}", "`${V/x/y}` is no variable"),
            ("${a.b}", "`${a.b}` is no variable"),
        ] {
            assert_eq!(run(text).unwrap_err(), error, "{text}");
        }
    }

    /// A generator of small numbers: the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % end
        }
    }

    fn arbitrary(numbers: &mut Numbers, depth: u32) -> Template {
        let mut parts: Template = Vec::new();
        for _ in 0..=numbers.below(3) {
            let words = ["a", "b c", "$", "-x", "é", ":?", "1"];
            let word = words[usize::try_from(numbers.below(7)).unwrap()];
            match (numbers.below(2), parts.last_mut()) {
                (0, Some(Part::Text(last))) => last.push_str(word),
                (0, _) => parts.push(Part::Text(word.into())),
                _ => {
                    let name = ["V", "E", "N", "_x9"][usize::try_from(numbers.below(4)).unwrap()];
                    let empty = numbers.below(2) == 0;
                    let rules = [
                        Rule::Default { empty },
                        Rule::Required { empty },
                        Rule::Other { empty },
                    ];
                    let rule = (depth > 0 && numbers.below(2) == 0).then(|| {
                        let rule = rules[usize::try_from(numbers.below(3)).unwrap()];
                        (rule, arbitrary(numbers, depth - 1))
                    });
                    let name = name.to_owned();
                    parts.push(Part::Variable { name, rule });
                }
            }
        }
        parts
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut numbers = Numbers(42);
        for _ in 0..20_000 {
            let parts = arbitrary(&mut numbers, 3);
            let text = source(&parts);
            assert_eq!(template(&text).as_ref(), Ok(&parts), "{text}");
        }
    }

    #[test]
    fn no_text_makes_it_fail_in_another_way() {
        let mut numbers = Numbers(7);
        let alphabet = ['$', '{', '}', ':', '-', '?', '+', 'V', 'N', ' ', 'é', '1'];
        for _ in 0..50_000 {
            let length = numbers.below(12);
            let text: String = (0..length)
                .map(|_| alphabet[usize::try_from(numbers.below(12)).unwrap()])
                .collect();
            if let Ok((filled, _)) = run(&text) {
                // What has no dollar is not touched.
                assert!(text.contains('$') || filled == text, "{text}");
            }
        }
    }
}

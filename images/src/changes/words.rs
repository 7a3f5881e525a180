//! Words, quotes and variables as a Dockerfile has them.

use super::Outcome;

/// Splits at blanks outside of quotes. Quotes and backslashes stay: they are
/// taken off by [`expand`].
pub(super) fn split(text: &str) -> Outcome<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (c, None) if c.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Takes quotes and backslashes off and puts variables in: `$NAME`, `${NAME}`,
/// `${NAME:-default}`, `${NAME:+alternative}`.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Outcome<String> {
    let mut out = String::new();
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            ('\\', None | Some('"')) => {
                let Some(next) = rest.chars().next() else {
                    out.push('\\');
                    break;
                };
                // In double quotes only these are special.
                if quote.is_some() && !matches!(next, '"' | '$' | '\\') {
                    out.push('\\');
                }
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
            ('$', None | Some('"')) => rest = variable(rest, lookup, &mut out)?,
            _ => out.push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    Ok(out)
}

/// Puts in the variable whose name follows a `$`; gives what is behind it.
fn variable<'a>(
    text: &'a str,
    lookup: &dyn Fn(&str) -> Option<String>,
    out: &mut String,
) -> Outcome<&'a str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some(body) = text.strip_prefix('{') else {
        let end = text.find(|c| !word(c)).unwrap_or(text.len());
        if end == 0 {
            out.push('$');
        }
        out.push_str(&lookup(&text[..end]).unwrap_or_default());
        return Ok(&text[end..]);
    };
    let end = closing(body).ok_or_else(|| format!("`${text}` has no closing brace"))?;
    let (inner, rest) = (&body[..end], &body[end + 1..]);
    let name_end = inner.find(|c| !word(c)).unwrap_or(inner.len());
    let (name, operation) = inner.split_at(name_end);
    if name.is_empty() {
        return Err(format!("`${{{inner}}}` has no name"));
    }
    let value = lookup(name).filter(|value| !value.is_empty() || operation.is_empty());
    let value = if operation.is_empty() {
        value.unwrap_or_default()
    } else if let Some(default) = operation.strip_prefix(":-") {
        value.map_or_else(|| expand(default, lookup), Ok)?
    } else if let Some(alternative) = operation.strip_prefix(":+") {
        if value.is_some() {
            expand(alternative, lookup)?
        } else {
            String::new()
        }
    } else {
        return Err(format!("`${{{inner}}}` is not understood"));
    };
    out.push_str(&value);
    Ok(rest)
}

fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

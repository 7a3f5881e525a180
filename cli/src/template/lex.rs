//! Text and actions, and the tokens of an action.

use super::TemplateError;

/// A stretch of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Copied as it is.
    Text(String),
    /// What stood between the braces.
    Action(Vec<Token>),
}

/// A token of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `.`
    Dot,
    /// `.Name`; `spaced` when white space or an opening bracket is before it.
    Field { name: String, spaced: bool },
    /// `$` or `$name`.
    Variable(String),
    /// A function or a keyword.
    Word(String),
    /// A literal.
    Text(String),
    /// A literal.
    Number(i64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `:=`
    Define,
    /// `,`
    Comma,
}

/// Cuts a template into text and actions, trim markers carried out.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim = false;
    loop {
        let (text, action) = match rest.split_once("{{") {
            Some((text, action)) => (text, Some(action)),
            None => (rest, None),
        };
        let text = if trim { text.trim_start() } else { text };
        let Some(action) = action else {
            pieces.push(Piece::Text(text.to_owned()));
            return Ok(pieces);
        };
        let before = action.starts_with("- ");
        let text = if before { text.trim_end() } else { text };
        pieces.push(Piece::Text(text.to_owned()));
        let body = action
            .strip_prefix('-')
            .filter(|_| before)
            .unwrap_or(action);
        let end = closing(body)
            .ok_or_else(|| TemplateError("an action is not closed: }} is missing".to_owned()))?;
        let inner = &body[..end];
        trim = inner.ends_with(" -");
        let inner = inner.strip_suffix('-').filter(|_| trim).unwrap_or(inner);
        rest = &body[end + 2..];
        let comment = inner.trim();
        if !(comment.starts_with("/*") && comment.ends_with("*/")) {
            pieces.push(Piece::Action(tokens(inner)?));
        }
    }
}

/// Where `}}` is, outside of quotes.
fn closing(body: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if body[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    // An open quote: let the lexer say so.
    quote.and_then(|_| body.find("}}"))
}

fn tokens(action: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action;
    let mut spaced = true;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            c if c.is_whitespace() => {
                spaced = true;
                rest = &rest[c.len_utf8()..];
                continue;
            }
            '|' => (Token::Pipe, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            ':' if rest.starts_with(":=") => (Token::Define, 2),
            '=' => (Token::Define, 1),
            '"' | '`' => quoted(rest, first)?,
            '.' => {
                let name = name(&rest[1..]).to_owned();
                let length = 1 + name.len();
                match name.is_empty() {
                    true => (Token::Dot, 1),
                    false => (Token::Field { name, spaced }, length),
                }
            }
            '$' => {
                let name = name(&rest[1..]);
                (Token::Variable(name.to_owned()), 1 + name.len())
            }
            c if c.is_ascii_digit() || c == '-' => number(rest)?,
            _ => {
                let name = name(rest);
                if name.is_empty() {
                    return Err(TemplateError(format!("unexpected {first:?} in an action")));
                }
                (Token::Word(name.to_owned()), name.len())
            }
        };
        spaced = token == Token::Open;
        tokens.push(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

fn number(text: &str) -> Result<(Token, usize), TemplateError> {
    let digits = text[1..].find(|c: char| !c.is_ascii_digit());
    let length = digits.map_or(text.len(), |at| at + 1);
    let number = text[..length]
        .parse()
        .map_err(|_| TemplateError(format!("{} is not a number", &text[..length])))?;
    Ok((Token::Number(number), length))
}

fn quoted(text: &str, quote: char) -> Result<(Token, usize), TemplateError> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Token::Text(value), at + 1)),
            '\\' if quote == '"' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c) => value.push(c),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(TemplateError("a quote is not closed".to_owned()))
}

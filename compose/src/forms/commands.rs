//! Commands: a text is split into words as a shell would, without its variables
//! and commands.

use super::Reader;
use crate::diagnostic::Place;
use crate::yaml::{Data, Node};

/// Words of a line, as a shell parts them.
///
/// # Errors
/// The quote that is never closed.
pub fn words_of(line: &str) -> Result<Vec<String>, char> {
    split(line)
}

/// A text becomes a list of words.
pub(crate) fn command(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let (Some(text), place) = (node.as_text(), node.place) else {
        return Some(node);
    };
    match split(text) {
        Ok(words) => Some(texts(words, place)),
        Err(quote) => {
            let message = format!("the quote {quote} of this command is never closed");
            reader.complain(place, message, "close it, or write the command as a list");
            None
        }
    }
}

/// A text is a line for a shell; a list starts with what it is.
pub(crate) fn health_test(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    if let Some(text) = node.as_text() {
        let words = match text {
            "" => Vec::new(),
            text => vec!["CMD-SHELL".to_owned(), text.to_owned()],
        };
        return Some(texts(words, node.place));
    }
    let first = node.as_list().and_then(|list| list.first());
    let kind = first.and_then(Node::as_text);
    match kind {
        None | Some("CMD" | "CMD-SHELL" | "NONE") => Some(node),
        Some(other) => {
            let message =
                format!("a test that is a list starts with CMD, CMD-SHELL or NONE, not {other:?}");
            let place = first.map_or(node.place, |first| first.place);
            reader.complain(
                place,
                message,
                "write [\"CMD\", \"program\", \"argument\"], or one text for a shell",
            );
            None
        }
    }
}

fn texts(words: Vec<String>, place: Place) -> Node {
    let words = words.into_iter().map(|word| Node::text(word, place));
    Node::new(Data::List(words.collect()), place)
}

/// Words of a line: blanks part them, quotes and backslashes keep them together
/// (POSIX shell, section 2.2). `Err`: the quote that is not closed.
pub(crate) fn split(text: &str) -> Result<Vec<String>, char> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or('\'')? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or('"')? {
                        '"' => break,
                        '\\' => match chars.next().ok_or('"')? {
                            '\n' => {}
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => word.get_or_insert_default().push('\\'),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn lines_become_words() {
        for (line, words) in [
            ("", vec![]),
            (
                "bundle exec thin -p 3000",
                vec!["bundle", "exec", "thin", "-p", "3000"],
            ),
            ("sh -c 'echo \"a b\"'", vec!["sh", "-c", "echo \"a b\""]),
            ("a \"b \\\" c\" d\\ e", vec!["a", "b \" c", "d e"]),
            ("--x='' \"\"", vec!["--x=", ""]),
            ("a\\\n b\nc", vec!["a", "b", "c"]),
            ("\"\\n\"", vec!["\\n"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line:?}");
        }
        assert_eq!(split("a 'b"), Err('\''));
        assert_eq!(split("a \"b\\"), Err('"'));
    }
}

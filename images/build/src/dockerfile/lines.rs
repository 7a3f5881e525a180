//! Parser directives, comments, continued lines and here-documents: what belongs to
//! which instruction (Dockerfile reference, "Format" and "Here-Documents").

use crate::error::{Error, Place, Result};

/// Parser directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `escape`.
    pub escape: char,
    /// `syntax`, which names a front end that is not used here.
    pub syntax: Option<String>,
    /// `check`.
    pub check: Option<String>,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HereDoc {
    /// The word that ends it, without quotes.
    pub name: String,
    /// Variables in it are put in: its name was not quoted.
    pub expand: bool,
    /// Tabs at the start of lines do not count (`<<-`).
    pub chomp: bool,
    /// Its lines, as they are.
    pub content: String,
    /// Where its name is.
    pub place: Place,
}

impl HereDoc {
    /// The content as a file gets it.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        let lines = self.content.split_inclusive('\n');
        lines.map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// One instruction, its lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it begins.
    pub place: Place,
    /// The first word in capitals.
    pub keyword: String,
    /// What follows it.
    pub rest: String,
    /// Here-documents in the order of their names.
    pub heredocs: Vec<HereDoc>,
    /// From offsets in `rest` to places: where each piece of a line begins.
    map: Vec<(usize, Place)>,
}

impl Line {
    /// The place of a byte of `rest`.
    pub fn place_of(&self, offset: usize) -> Place {
        let Some((start, place)) = self.map.iter().rev().find(|(start, _)| *start <= offset) else {
            return self.place;
        };
        let text = self.rest.get(*start..offset).unwrap_or_default();
        Place {
            line: place.line,
            column: place.column + text.chars().count(),
        }
    }
}

/// A Dockerfile's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// What its head says.
    pub directives: Directives,
    /// Its instructions.
    pub lines: Vec<Line>,
}

/// Splits a Dockerfile into instructions.
///
/// # Errors
/// A directive that is wrong, a here-document without an end.
pub fn split(text: &str) -> Result<Lines> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let raw: Vec<&str> = text.split_inclusive('\n').collect();
    let directives = directives(&raw)?;
    let mut lines = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        if is_comment(raw[at]) || raw[at].trim().is_empty() {
            at += 1;
            continue;
        }
        lines.push(instruction(&raw, &mut at, directives.escape)?);
    }
    Ok(Lines { directives, lines })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The comments at the very top that are `# name=value`.
fn directives(raw: &[&str]) -> Result<Directives> {
    let mut found = Directives {
        escape: '\\',
        syntax: None,
        check: None,
    };
    let mut seen = Vec::new();
    for (index, line) in raw.iter().enumerate() {
        let Some((name, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|comment| comment.split_once('='))
        else {
            break;
        };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            break;
        }
        let place = Place {
            line: index + 1,
            column: 1,
        };
        if seen.contains(&name) {
            return Err(Error::at(
                place,
                format!("the parser directive `{name}` stands there twice"),
            ));
        }
        match name.as_str() {
            "escape" => {
                found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        return Err(Error::at(
                            place,
                            format!("the escape character is \\ or `, not {other:?}"),
                        ));
                    }
                }
            }
            "syntax" => found.syntax = Some(value.to_owned()),
            "check" => found.check = Some(value.to_owned()),
            // Any other comment ends the directives.
            _ => break,
        }
        seen.push(name);
    }
    Ok(found)
}

/// The instruction that begins in line `at`, which is moved behind it.
fn instruction(raw: &[&str], at: &mut usize, escape: char) -> Result<Line> {
    let first = raw[*at];
    let indent = first.len() - first.trim_start().len();
    let place = Place {
        line: *at + 1,
        column: first[..indent].chars().count() + 1,
    };
    let mut joined = String::new();
    let mut map = Vec::new();
    let mut begun = false;
    while let Some(line) = raw.get(*at) {
        if begun && (is_comment(line) || line.trim().is_empty()) {
            *at += 1;
            continue;
        }
        let number = *at + 1;
        *at += 1;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let skip = if begun { 0 } else { indent };
        let column = line[..skip].chars().count() + 1;
        map.push((
            joined.len(),
            Place {
                line: number,
                column,
            },
        ));
        begun = true;
        let piece = &line[skip..];
        match piece.trim_end_matches([' ', '\t']).strip_suffix(escape) {
            Some(piece) => joined.push_str(piece),
            None => {
                joined.push_str(piece);
                break;
            }
        }
    }
    let end = joined
        .find(|c: char| c.is_whitespace())
        .unwrap_or(joined.len());
    let keyword = joined[..end].to_ascii_uppercase();
    let start = joined.len() - joined[end..].trim_start().len();
    let rest = joined[start..].trim_end().to_owned();
    let mut line = Line {
        place,
        keyword,
        rest,
        heredocs: Vec::new(),
        map: Vec::new(),
    };
    line.map = shift(&map, start, &joined);
    line.heredocs = heredocs(&line, raw, at, escape)?;
    Ok(line)
}

/// Counts offsets from `start` on.
fn shift(map: &[(usize, Place)], start: usize, joined: &str) -> Vec<(usize, Place)> {
    let mut shifted = Vec::new();
    for (offset, place) in map {
        match offset.checked_sub(start) {
            Some(offset) => shifted.push((offset, *place)),
            None => {
                // The piece in which the rest begins.
                let column = place.column + joined[*offset..start].chars().count();
                shifted.clear();
                shifted.push((0, Place { column, ..*place }));
            }
        }
    }
    shifted
}

/// Reads the here-documents that an instruction announces.
fn heredocs(line: &Line, raw: &[&str], at: &mut usize, escape: char) -> Result<Vec<HereDoc>> {
    let mut keyword = line.keyword.as_str();
    let mut text = line.rest.as_str();
    let own;
    if keyword == "ONBUILD" {
        let (inner, rest) = text
            .split_once(|c: char| c.is_whitespace())
            .unwrap_or((text, ""));
        own = inner.to_ascii_uppercase();
        (keyword, text) = (&own, rest);
    }
    if !matches!(keyword, "RUN" | "COPY" | "ADD") || text.starts_with('[') {
        return Ok(Vec::new());
    }
    let base = line.rest.len() - text.len();
    let mut found = Vec::new();
    for (offset, word) in raw_words(text, escape) {
        let Some(mut doc) = announced(&word) else {
            continue;
        };
        doc.place = line.place_of(base + offset);
        loop {
            let Some(next) = raw.get(*at) else {
                return Err(Error::at(
                    doc.place,
                    format!("the here-document has no end: no line is `{}`", doc.name),
                ));
            };
            *at += 1;
            let plain = next.strip_suffix('\n').unwrap_or(next);
            let plain = plain.strip_suffix('\r').unwrap_or(plain);
            let plain = match doc.chomp {
                true => plain.trim_start_matches('\t'),
                false => plain,
            };
            if plain == doc.name {
                break;
            }
            doc.content.push_str(next);
        }
        found.push(doc);
    }
    Ok(found)
}

/// `[digits]<<[-]NAME`, the name in quotes or not.
pub(super) fn announced(word: &str) -> Option<HereDoc> {
    let after = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let after = after.strip_prefix("<<")?;
    let (chomp, name) = match after.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, after),
    };
    if name.is_empty() || name.contains('<') {
        return None;
    }
    let plain: String = name.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    Some(HereDoc {
        expand: plain == name,
        name: plain,
        chomp,
        content: String::new(),
        place: Place::default(),
    })
}

/// Words with their offsets, split at blanks outside of quotes; quotes stay.
pub(super) fn raw_words(text: &str, escape: char) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut word: Option<(usize, String)> = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((offset, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let (_, word) = word.get_or_insert((offset, String::new()));
        word.push(c);
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some('\'') => {}
            _ if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            _ => {}
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> Vec<(String, String, usize, usize)> {
        let lines = split(text).unwrap().lines;
        lines
            .into_iter()
            .map(|line| (line.keyword, line.rest, line.place.line, line.place.column))
            .collect()
    }

    fn line(keyword: &str, rest: &str, at: (usize, usize)) -> (String, String, usize, usize) {
        (keyword.into(), rest.into(), at.0, at.1)
    }

    #[test]
    fn lines_are_joined_and_comments_left_out() {
        let text = "# a comment\n\nfrom scratch\r\n  RUN a \\\n# inside\n\n  b \\ \n c\nCMD x # no comment\n";
        assert_eq!(
            short(text),
            [
                line("FROM", "scratch", (3, 1)),
                line("RUN", "a   b  c", (4, 3)),
                line("CMD", "x # no comment", (9, 1)),
            ]
        );
    }

    #[test]
    fn the_escape_character_is_chosen() {
        let text = "# escape=`\nRUN a `\nb\\\nENV x\n";
        assert_eq!(
            short(text),
            [line("RUN", "a b\\", (2, 1)), line("ENV", "x", (4, 1))]
        );
        let wrong = split("# escape=x\nRUN a").unwrap_err();
        assert_eq!(wrong.at.unwrap().1, Place { line: 1, column: 1 });
        // A directive below a comment is a comment.
        assert_eq!(split("# hi\n# escape=`\n").unwrap().directives.escape, '\\');
        assert!(split("# escape=`\n# escape=`\n").is_err());
    }

    #[test]
    fn here_documents_belong_to_their_instruction() {
        let text = "RUN cat <<EOF > /x && cat <<-'B' >> /x\none\nEOF\n\t\ttwo $x\n\tB\nCOPY <<a <<\"b\" /d/\n1\na\n2\nb\nENV x=<<y\n";
        let lines = split(text).unwrap().lines;
        let docs = |index: usize| {
            let docs = lines[index].heredocs.iter();
            docs.map(|doc| (doc.name.as_str(), doc.expand, doc.text()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            docs(0),
            [
                ("EOF", true, "one\n".into()),
                ("B", false, "two $x\n".into())
            ]
        );
        assert_eq!(
            docs(1),
            [("a", true, "1\n".into()), ("b", false, "2\n".into())]
        );
        assert_eq!(lines[2].rest, "x=<<y");
        let open = split("FROM x\nRUN <<EOF\nno end\n").unwrap_err();
        assert_eq!(
            open.to_string(),
            ":2:5: the here-document has no end: no line is `EOF`"
        );
    }

    #[test]
    fn places_are_found_in_joined_lines() {
        let lines = split("FROM x\n  COPY --from=a \\\n  bb cc\n")
            .unwrap()
            .lines;
        let line = &lines[1];
        let at = |text: &str| {
            let place = line.place_of(line.rest.find(text).unwrap());
            (place.line, place.column)
        };
        assert_eq!((at("--from"), at("bb"), at("cc")), ((2, 8), (3, 3), (3, 6)));
    }
}

//! `--format table|json|TEMPLATE` for lists and for single values.

use serde_json::{Map, Value};

use super::{print, print_json, print_line, table};
use crate::error::{Code, Failure, Result};
use crate::template::Template;

/// What `--format` asks for.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    /// The command's own table.
    Table,
    /// One JSON object a line for lists, indented JSON for single values.
    Json,
    /// A template, once for every row.
    Template(Template),
    /// `table TEMPLATE`: the cells of a table, separated by `\t`.
    TableOf(Template),
}

/// A column: the field of a row and the header above it.
pub(crate) type Column = (&'static str, &'static str);

/// A list as JSON objects, ready to be shown in any format.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    /// Every field that a row has, with its header.
    pub(crate) fields: &'a [Column],
    /// Fields of the default table, in order.
    pub(crate) shown: &'a [&'static str],
    /// One object for each row.
    pub(crate) rows: Vec<Value>,
}

impl Format {
    /// Reads the flag; without it, the table.
    pub(crate) fn parse(flag: Option<&str>) -> Result<Format> {
        let text = match flag {
            None | Some("" | "table") => return Ok(Format::Table),
            Some("json") => return Ok(Format::Json),
            Some(text) => text,
        };
        let (text, tabular) = match text.strip_prefix("table ") {
            Some(rest) => (rest.trim_start(), true),
            None => (text, false),
        };
        // A shell passes the two characters `\t` on as they are; Docker takes
        // them for a tabulator.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&text).map_err(wrong)?;
        Ok(match tabular {
            true => Format::TableOf(template),
            false => Format::Template(template),
        })
    }

    /// JSON was asked for, so errors are JSON too.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self, Format::Json)
    }

    /// Prints a list.
    pub(crate) fn print_rows(&self, list: &Rows<'_>) -> Result<()> {
        print(&self.render_rows(list)?)
    }

    /// The same, but JSON is one array, as Compose prints some of its lists.
    pub(crate) fn print_whole(&self, list: &Rows<'_>) -> Result<()> {
        match self {
            Format::Json => print_line(&Value::from(list.rows.clone()).to_string()),
            _ => self.print_rows(list),
        }
    }

    /// A list as text.
    pub(crate) fn render_rows(&self, list: &Rows<'_>) -> Result<String> {
        let mut text = String::new();
        match self {
            Format::Table => text = plain_table(list),
            Format::Json => {
                for row in &list.rows {
                    text.push_str(&row.to_string());
                    text.push('\n');
                }
            }
            Format::Template(template) => {
                for row in &list.rows {
                    text.push_str(&template.render(row).map_err(wrong)?);
                    text.push('\n');
                }
            }
            Format::TableOf(template) => {
                let mut headers = Map::new();
                for (field, header) in list.fields {
                    headers.insert((*field).to_owned(), Value::from(*header));
                }
                let headers = Value::Object(headers);
                let mut lines = Vec::new();
                for row in std::iter::once(&headers).chain(&list.rows) {
                    let line = template.render(row).map_err(wrong)?;
                    lines.push(line.split('\t').map(str::to_owned).collect());
                }
                text = table(&lines);
            }
        }
        Ok(text)
    }

    /// Prints one value; `plain` makes the text of the default format.
    pub(crate) fn print_value(&self, value: &Value, plain: impl FnOnce() -> String) -> Result<()> {
        match self {
            Format::Table => print(&plain()),
            Format::Json => print_json(value),
            Format::Template(template) | Format::TableOf(template) => {
                print_line(&template.render(value).map_err(wrong)?)
            }
        }
    }
}

fn plain_table(list: &Rows<'_>) -> String {
    let header = |field: &&'static str| {
        let found = list.fields.iter().find(|(known, _)| known == field);
        found.map_or(*field, |(_, header)| header).to_owned()
    };
    let mut lines = vec![list.shown.iter().map(header).collect::<Vec<_>>()];
    for row in &list.rows {
        let cell = |field: &&'static str| match row.get(field) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        lines.push(list.shown.iter().map(cell).collect());
    }
    table(&lines)
}

fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Template, format!("the template of --format: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(flag: Option<&str>) -> Result<String> {
        let list = Rows {
            fields: &[("ID", "CONTAINER ID"), ("Name", "NAMES"), ("Size", "SIZE")],
            shown: &["ID", "Name"],
            rows: vec![json!({"ID": "abc", "Name": "web", "Size": 5})],
        };
        Format::parse(flag)?.render_rows(&list)
    }

    #[test]
    fn lists_are_shown_in_every_format() {
        for (flag, expected) in [
            (None, "CONTAINER ID   NAMES\nabc            web\n"),
            (
                Some("json"),
                "{\"ID\":\"abc\",\"Name\":\"web\",\"Size\":5}\n",
            ),
            (Some("{{.ID}}={{.Size}}"), "abc=5\n"),
            (
                Some("table {{.Name}}\\t{{.Size}}"),
                "NAMES     SIZE\nweb       5\n",
            ),
        ] {
            assert_eq!(render(flag).unwrap(), expected, "{flag:?}");
        }
        assert!(
            render(Some("{{.Nosuch}}"))
                .unwrap_err()
                .message
                .contains(".Nosuch")
        );
        assert!(render(Some("{{.ID")).is_err());
    }
}

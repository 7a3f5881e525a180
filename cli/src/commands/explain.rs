//! `isola explain`

use clap_complete::engine::ArgValueCandidates;
use serde_json::{Value, json};

use crate::codes::{ENTRIES, Entry};
use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{Format, Rows, print_line};

/// Explain the code of an error
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// table, json, or a template such as '{{.Code}} {{.Title}}'
    #[arg(long)]
    format: Option<String>,
    /// A code such as E0102; all of them, if none is given
    #[arg(add = ArgValueCandidates::new(complete::codes))]
    code: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola explain E0104
  isola explain
  isola explain --format json";

pub(crate) fn run(args: &Args, _: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let Some(code) = &args.code else {
        let rows = ENTRIES.iter().map(value).collect();
        let fields = &[
            ("Code", "CODE"),
            ("Title", "TITLE"),
            ("Explanation", "EXPLANATION"),
        ];
        format.print_rows(&Rows {
            fields,
            shown: &["Code", "Title"],
            rows,
        })?;
        return Ok(Exit::OK);
    };
    let wanted = code.to_uppercase();
    let wanted = wanted.trim_start_matches('E').trim_start_matches('0');
    let found = ENTRIES
        .iter()
        .find(|entry| entry.id.trim_start_matches('E').trim_start_matches('0') == wanted);
    let entry = found.ok_or_else(|| {
        Failure::new(Code::Invalid, format!("there is no error {code:?}"))
            .hint("`isola explain` lists all codes")
    })?;
    match format {
        Format::Table => print_line(&format!("{}: {}\n\n{}", entry.id, entry.title, entry.text))?,
        other => other.print_value(&value(entry), String::new)?,
    }
    Ok(Exit::OK)
}

fn value(entry: &Entry) -> Value {
    json!({"Code": entry.id, "Title": entry.title, "Explanation": entry.text})
}

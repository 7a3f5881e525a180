//! `isola history`

use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::complete;
use crate::context::Context;
use crate::demo_image;
use crate::error::{Exit, Result};
use crate::output::{Column, Format, Rows, decimal_size, print, rfc3339, since};

/// Show the steps by which an image was made
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// table, json, or a template such as '{{.CreatedBy}}'
    #[arg(long)]
    format: Option<String>,
    /// Sizes and times as people read them
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1)]
    #[arg(
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    #[arg(action = clap::ArgAction::Set)]
    human: bool,
    /// Do not cut ids and instructions
    #[arg(long)]
    no_trunc: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Name or id
    #[arg(value_name = "IMAGE", add = ArgValueCandidates::new(complete::images))]
    image: String,
}

const EXAMPLES: &str = "Examples:
  isola history debian
  isola history --no-trunc --format '{{.CreatedBy}}' nginx
  isola history --human=false 1f3a5c";

const FIELDS: &[Column] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];
/// Docker's word: steps are no images of their own.
const MISSING: &str = "<missing>";
/// Characters of an instruction that a table shows.
const WIDTH: usize = 45;

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let store = context.store()?;
    drop(demo_image::resolve(&store, &args.image)?);
    let (id, steps) = store.history(&args.image)?;
    let id = match args.no_trunc {
        true => id.to_string(),
        false => id.short(),
    };
    let ids = std::iter::once(id.as_str()).chain(std::iter::repeat(MISSING));
    if args.quiet {
        let lines: String = ids.take(steps.len()).map(|id| format!("{id}\n")).collect();
        print(&lines)?;
        return Ok(Exit::OK);
    }
    let rows = ids
        .zip(&steps)
        .map(|(id, step)| row(id, step, args))
        .collect();
    let time = if args.human {
        "CreatedSince"
    } else {
        "CreatedAt"
    };
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: &["ID", time, "CreatedBy", "Size", "Comment"],
        rows,
    })?;
    Ok(Exit::OK)
}

fn row(id: &str, step: &isola_images::Step, args: &Args) -> Value {
    let time = step
        .created
        .as_deref()
        .and_then(|text| text.parse::<Timestamp>().ok());
    let ms = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    let by = step.created_by.replace(['\n', '\t'], " ");
    json!({
        "ID": id,
        "CreatedSince": ms.map_or("N/A".to_owned(), since),
        "CreatedAt": rfc3339(ms),
        "CreatedBy": if args.no_trunc { by } else { cut(&by) },
        "Size": if args.human { decimal_size(step.size) } else { step.size.to_string() },
        "Comment": step.comment,
    })
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(WIDTH - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_instructions_are_cut() {
        assert_eq!(cut("RUN true"), "RUN true");
        let long = cut(&"ä".repeat(60));
        assert_eq!(long.chars().count(), WIDTH);
        assert!(long.ends_with('…'));
    }
}

//! `isola compose ls`

use std::collections::BTreeMap;

use isola_compose::label;
use isola_compose::plan::Here;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::filter::Filters;
use crate::output::{Column, Format, Rows, print};

/// List projects
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Those of which nothing runs, too
    #[arg(short, long)]
    all: bool,
    /// Names only
    #[arg(short, long)]
    quiet: bool,
    /// Only those with name=
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose ls
  isola compose ls --all --format json
  isola compose ls --filter name=shop -q";

const FIELDS: &[Column] = &[
    ("Name", "NAME"),
    ("Status", "STATUS"),
    ("ConfigFiles", "CONFIG FILES"),
];
const SHOWN: &[&str] = &["Name", "Status", "ConfigFiles"];

/// What is known of a project.
#[derive(Default)]
struct Found {
    states: BTreeMap<&'static str, usize>,
    files: String,
    lives: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let filters = Filters::parse(&args.filter, &["name"])?;
    let mut projects: BTreeMap<String, Found> = BTreeMap::new();
    for instance in context.engine()?.list()? {
        let labels = &instance.record.workload.labels;
        let (Some(name), Some(here)) = (labels.get(label::PROJECT), Here::of(&instance)) else {
            continue;
        };
        if here.one_off {
            continue;
        }
        let found = projects.entry(name.clone()).or_default();
        *found.states.entry(here.state.as_str()).or_default() += 1;
        found.lives |= here.state.is_live();
        if let Some(files) = labels.get(label::FILES) {
            found.files.clone_from(files);
        }
    }
    projects.retain(|name, found| {
        (args.all || found.lives) && filters.any("name", |word| name.contains(word.as_str()))
    });
    if args.quiet && args.format.is_none() {
        print(
            &projects
                .keys()
                .map(|name| format!("{name}\n"))
                .collect::<String>(),
        )?;
        return Ok(Exit::OK);
    }
    let row = |(name, found): (&String, &Found)| -> Value {
        let states = found
            .states
            .iter()
            .map(|(state, count)| format!("{state}({count})"));
        json!({
            "Name": name,
            "Status": states.collect::<Vec<_>>().join(", "),
            "ConfigFiles": found.files,
        })
    };
    format.print_whole(&Rows {
        fields: FIELDS,
        shown: SHOWN,
        rows: projects.iter().map(row).collect(),
    })?;
    Ok(Exit::OK)
}

//! `isola ps`

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::filter::Filters;
use crate::instances::{FIELDS, FILTERS, SHOWN, row, select};
use crate::output::{Format, Rows, print};

/// List instances
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Stopped ones too
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Only those with id, name, label, status, exited, ancestor, isolation, before, since,
    /// network, volume, publish, expose, health
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template such as '{{.ID}} {{.Names}}'
    #[arg(long)]
    format: Option<String>,
    /// The newest one, in whatever state
    #[arg(short, long)]
    latest: bool,
    /// The newest ones, in whatever state
    #[arg(short = 'n', long, value_name = "NUMBER", conflicts_with = "latest")]
    last: Option<usize>,
    /// Do not cut ids and commands
    #[arg(long)]
    no_trunc: bool,
}

const EXAMPLES: &str = "Examples:
  isola ps -a
  isola ps --filter isolation=vm --filter network=lan
  isola ps --format 'table {{.Names}}\\t{{.Isolation}}\\t{{.Status}}'";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let filters = Filters::parse(&args.filter, FILTERS)?;
    let last = if args.latest { Some(1) } else { args.last };
    let all = args.all || last.is_some();
    let links = context.links()?;
    let mut instances = select(context.engine()?.list()?, &links, &filters, all)?;
    instances.truncate(last.unwrap_or(usize::MAX));
    if args.quiet && args.format.is_none() {
        let id = |record: &isola_runtime::state::Record| match args.no_trunc {
            true => format!("{}\n", record.id),
            false => format!("{}\n", record.short_id()),
        };
        print(
            &instances
                .iter()
                .map(|instance| id(&instance.record))
                .collect::<String>(),
        )?;
        return Ok(Exit::OK);
    }
    let rows = instances
        .iter()
        .map(|instance| row(instance, &links, args.no_trunc))
        .collect();
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: SHOWN,
        rows,
    })?;
    Ok(Exit::OK)
}

//! `isola network prune`

use jiff::Timestamp;

use super::Users;
use crate::confirm::confirm;
use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::filter::Filters;
use crate::logfile::parse_moment;
use crate::output::print;

/// Remove all networks that no instance refers to, but the default one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with label, label!, or made before until
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola network prune
  isola network prune --force --filter until=24h
  isola network prune --force --filter label=test";

const FILTERS: &[&str] = &["label", "label!", "until"];

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let filters = Filters::parse(&args.filter, FILTERS)?;
    let until = filters
        .values("until")
        .last()
        .map(|text| parse_moment("the filter until", text, Timestamp::now()))
        .transpose()?;
    let question = "This will remove all networks, but `default`, that no instance refers to.";
    confirm(args.force, question)?;
    let removed = remove(context, &filters, until)?;
    if !removed.is_empty() {
        print(&format!("Deleted Networks:\n{}\n\n", removed.join("\n")))?;
    }
    Ok(Exit::OK)
}

/// Removes all that no instance refers to; gives their names.
pub(in crate::commands) fn remove_unused(context: &Context) -> Result<Vec<String>> {
    remove(context, &Filters::default(), None)
}

fn remove(context: &Context, filters: &Filters, until: Option<Timestamp>) -> Result<Vec<String>> {
    let networks = context.networks()?;
    let users = Users::read(context)?;
    let mut removed = Vec::new();
    for network in networks.list()? {
        let young = until.is_some_and(|until| {
            i64::try_from(network.created_ms).is_ok_and(|ms| ms > until.as_millisecond())
        });
        let kept = network.name == isola_net::DEFAULT || users.of(&network).is_some() || young;
        if kept || !filters.labels(&network.labels) {
            continue;
        }
        let user = |network: &isola_net::Network| users.of(network);
        match networks.remove(&network, &user, &|id| users.is_alive(id)) {
            Ok(()) => removed.push(network.name.clone()),
            // Somebody was faster.
            Err(error) if error.kind == isola_net::Kind::Conflict => {}
            Err(error) => context.report(&Failure::from(error)),
        }
    }
    Ok(removed)
}

//! `isola compose logs`

use jiff::Timestamp;

use super::ProjectArgs;
use super::follow::{Abort, Follow, Look};
use super::scope::Scope;
use crate::commands::logs::tail;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::logfile::parse_moment;

/// Show what services have written
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Go on until all have ended
    #[arg(short, long)]
    follow: bool,
    /// Only the instance with this number
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Only the last lines of each instance
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Only from this time on: 2026-11-22T15:04:05, seconds since 1970, or 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Leave the names of services out
    #[arg(long)]
    no_log_prefix: bool,
    /// No colours
    #[arg(long)]
    no_color: bool,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose logs
  isola compose logs -f --tail 20 web
  isola compose logs --index 2 --no-log-prefix worker";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let now = Timestamp::now();
    let moment = |flag: &str, text: &Option<String>| {
        text.as_deref()
            .map(|text| parse_moment(flag, text, now))
            .transpose()
    };
    let scope = Scope::of_any(project, &args.services, context)?;
    let look = Look {
        since: moment("--since", &args.since)?,
        until: moment("--until", &args.until)?,
        tail: tail(&args.tail)?,
        timestamps: args.timestamps,
        no_prefix: args.no_log_prefix,
        colors: scope.screen.colors.1 && !args.no_color,
    };
    let mut all = scope.instances(context)?;
    if let Some(index) = args.index {
        if args.services.len() != 1 {
            return Err(Failure::new(Code::Usage, "--index is for one service").hint("name it"));
        }
        all.retain(|here| here.number == index);
        if all.is_empty() {
            let message = format!("service {} has no instance {index}", args.services[0]);
            return Err(Failure::new(Code::NoSuch, message));
        }
    }
    let mut follow = Follow::new(context, look)?;
    if args.follow {
        let services = &args.services;
        follow.welcome(context, &scope.name, |here| {
            let meant = services.is_empty() || services.contains(&here.service);
            (meant && args.index.is_none_or(|index| index == here.number)).then_some(true)
        })?;
    }
    for here in &all {
        follow.add(here, true, args.follow)?;
    }
    match args.follow {
        true => drop(follow.until_end(Abort::Never)?),
        false => follow.print_all()?,
    }
    Ok(Exit::OK)
}

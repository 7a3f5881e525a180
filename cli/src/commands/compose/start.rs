//! `isola compose start`

use std::time::{Duration, Instant};

use isola_compose::plan::start;

use super::ProjectArgs;
use super::scope::Scope;
use super::work::{self, How, Images};
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};

/// Start instances that are there
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Wait until all run, or are healthy where they have a check
    #[arg(long)]
    wait: bool,
    /// Seconds that --wait waits at most
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    wait_timeout: Option<u64>,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose start
  isola compose start db
  isola compose start --wait --wait-timeout 30";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, &args.services, context)?;
    let present = scope.present(context)?;
    for service in &args.services {
        if present.of(service).next().is_none() {
            let message = format!("service {service} has no instance to start");
            return Err(Failure::new(Code::NoSuch, message).hint("`isola compose up` makes it"));
        }
    }
    let mut plan = start(&present, &args.services);
    if args.wait {
        plan.wait_for_all();
    }
    let limit = args.wait_timeout.map(Duration::from_secs);
    let how = How {
        deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
        ..How::default()
    };
    work::carry_out(context, &scope, &plan, &Images::new(), &how)?;
    Ok(Exit::OK)
}

//! `isola compose stop`

use isola_compose::plan::{Plan, stop};

use super::ProjectArgs;
use super::scope::Scope;
use super::work::{self, How, Images};
use crate::context::Context;
use crate::error::{Exit, Result};

/// Stop instances without removing them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Seconds until SIGKILL instead of the services' own
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose stop
  isola compose stop --timeout 30 db
  isola compose -p shop stop";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, &args.services, context)?;
    let plan = stop_plan(&scope, context)?;
    let how = How {
        timeout: args.timeout,
        ..How::default()
    };
    work::carry_out(context, &scope, &plan, &Images::new(), &how)?;
    Ok(Exit::OK)
}

/// Stops the services of a scope.
pub(super) fn stop_plan(scope: &Scope, context: &Context) -> Result<Plan> {
    Ok(stop(&scope.present(context)?, &scope.services))
}

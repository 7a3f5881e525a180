//! `isola compose restart`

use isola_compose::plan::{What, restart};

use super::ProjectArgs;
use super::scope::Scope;
use super::work::{self, How, Images};
use crate::context::Context;
use crate::error::{Exit, Result};

/// Stop instances and start them again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Seconds until SIGKILL instead of the services' own
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Leave services alone that are to be restarted with these
    #[arg(long)]
    no_deps: bool,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose restart
  isola compose restart --timeout 0 web
  isola compose restart --no-deps db";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, &args.services, context)?;
    let plan = restart(&scope.present(context)?, &args.services, args.no_deps);
    let how = How {
        timeout: args.timeout,
        ..How::default()
    };
    work::carry_out(context, &scope, &plan, &Images::new(), &how)?;
    let engine = context.engine()?;
    for step in &plan.steps {
        if let What::Start { name, .. } = &step.what {
            engine.tell(&engine.find(name)?, "restart");
        }
    }
    Ok(Exit::OK)
}

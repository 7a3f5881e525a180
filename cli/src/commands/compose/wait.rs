//! `isola compose wait`

use isola_compose::plan::{Removal, down};

use super::ProjectArgs;
use super::follow::{Abort, End, Follow, Look};
use super::scope::Scope;
use super::work::{self, How, Images};
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;

/// Wait until one of some services ends, print its exit code and end with it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Take the whole project down then
    #[arg(long)]
    down_project: bool,
    /// Services
    #[arg(required = true)]
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose wait tests
  isola compose wait --down-project tests
  isola compose wait web db";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, &args.services, context)?;
    let all = scope.instances(context)?;
    if all.is_empty() {
        let message = format!("no instance of {} is there", args.services.join(", "));
        return Err(Failure::new(Code::NoSuch, message).hint("`isola compose up -d` makes it"));
    }
    let mut follow = Follow::new(context, Look::default())?;
    for here in &all {
        follow.add(here, false, true)?;
    }
    let end = follow.until_end(Abort::OnExit)?;
    if let End::One(code) = end {
        print_line(&code.to_string())?;
    }
    drop(follow);
    if args.down_project {
        let removal = Removal::default();
        let plan = down(
            &scope.name,
            scope.project(),
            scope.known(),
            &scope.present(context)?,
            &removal,
        );
        work::carry_out(context, &scope, &plan, &Images::new(), &How::default())?;
    }
    Ok(end.exit())
}

//! `isola compose create`

use super::ProjectArgs;
use super::up::MakeArgs;
use super::work;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Create the instances of a project without starting them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    make: MakeArgs,
}

const EXAMPLES: &str = "Examples:
  isola compose create
  isola compose create --force-recreate web
  isola compose create --scale worker=3";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = args.make.scope(project, context)?;
    let ready = args.make.prepare(&scope, true, false, context)?;
    if args.make.is_dry() {
        work::show(&ready.plan)?;
        return Ok(Exit::OK);
    }
    work::carry_out(
        context,
        &scope,
        &ready.plan,
        &ready.images,
        &args.make.how(),
    )?;
    Ok(Exit::OK)
}

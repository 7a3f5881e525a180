//! `isola compose scale`

use super::ProjectArgs;
use super::up::MakeArgs;
use super::work;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};

/// Change how many instances services have
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Leave services that others depend on alone
    #[arg(long)]
    no_deps: bool,
    /// SERVICE=NUMBER
    #[arg(required = true, value_name = "SERVICE=NUMBER")]
    scales: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose scale worker=3
  isola compose scale web=2 worker=5
  isola compose scale --no-deps web=0";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let name = |text: &String| match text.split_once('=') {
        Some((name, _)) => Ok(name.to_owned()),
        None => Err(Failure::new(
            Code::Usage,
            format!("{text:?} is not of the form SERVICE=NUMBER"),
        )),
    };
    let services = args.scales.iter().map(name).collect::<Result<Vec<_>>>()?;
    let make = MakeArgs::scaling(services, args.scales.clone(), args.no_deps);
    let scope = make.scope(project, context)?;
    let ready = make.prepare(&scope, false, false, context)?;
    work::carry_out(context, &scope, &ready.plan, &ready.images, &make.how())?;
    Ok(Exit::OK)
}

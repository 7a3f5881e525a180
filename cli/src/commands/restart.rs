//! `isola restart`

use super::stop::How;
use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;
use clap_complete::engine::ArgValueCandidates;

/// Stop instances and start them again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    /// Names or ids
    #[arg(required = true, value_name = "INSTANCE", add = ArgValueCandidates::new(complete::instances))]
    instances: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola restart web
  isola restart --timeout 0 db
  isola restart --signal HUP $(isola ps -q)";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let (timeout, signal) = args.how.read()?;
    let engine = context.engine()?;
    context.each(&args.instances, |key| {
        let instance = engine.find(key)?;
        let (control, _) = engine.restart(&instance, timeout, signal)?;
        context.notices(&control);
        print_line(key)
    })
}

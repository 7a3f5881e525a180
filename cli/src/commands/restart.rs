//! `isola restart`

use clap_complete::engine::ArgValueCandidates;
use isola_runtime::engine::Launch;

use super::stop::How;
use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;

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
        if instance.status.state.is_live() {
            engine.stop(&instance, timeout, signal)?;
        }
        engine.start(&engine.find(&instance.record.id)?, Launch::default())?;
        print_line(key)
    })
}

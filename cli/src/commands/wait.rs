//! `isola wait`

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;

/// Wait until instances end and print their exit codes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(required = true, value_name = "INSTANCE", add = ArgValueCandidates::new(complete::instances))]
    instances: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola wait job
  isola wait job1 job2
  isola wait $(isola run -d isola/demo sleep 5)";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let engine = context.engine()?;
    context.each(&args.instances, |key| {
        let code = engine.wait(&engine.find(key)?)?;
        print_line(&code.to_string())
    })
}

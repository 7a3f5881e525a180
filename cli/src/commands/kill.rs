//! `isola kill`

use clap_complete::engine::ArgValueCandidates;

use super::stop::signal;
use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;

/// Send a signal to the first process of instances
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name or number
    #[arg(short, long, default_value = "KILL", add = ArgValueCandidates::new(complete::signals))]
    signal: String,
    /// Names or ids
    #[arg(required = true, value_name = "INSTANCE", add = ArgValueCandidates::new(complete::running))]
    instances: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola kill web
  isola kill --signal HUP nginx
  isola kill -s 15 $(isola ps -q)";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let number = signal(&args.signal)?;
    let engine = context.engine()?;
    context.each(&args.instances, |key| {
        engine.kill(&engine.find(key)?, number)?;
        print_line(key)
    })
}

//! `isola pause`

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;

/// Freeze all processes of instances
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(required = true, value_name = "INSTANCE", add = ArgValueCandidates::new(complete::running))]
    instances: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola pause web
  isola pause web db
  isola pause $(isola ps -q)";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let engine = context.engine()?;
    context.each(&args.instances, |key| {
        engine.pause(&engine.find(key)?)?;
        print_line(key)
    })
}

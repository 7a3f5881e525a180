//! `isola unpause`

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;

/// Let frozen instances go on
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Names or ids
    #[arg(required = true, value_name = "INSTANCE", add = ArgValueCandidates::new(complete::running))]
    instances: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola unpause web
  isola unpause web db
  isola unpause $(isola ps -q)";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let engine = context.engine()?;
    context.each(&args.instances, |key| {
        engine.unpause(&engine.find(key)?)?;
        print_line(key)
    })
}

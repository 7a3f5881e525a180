//! `isola rename`

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Give an instance another name
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name or id
    #[arg(value_name = "INSTANCE", add = ArgValueCandidates::new(complete::instances))]
    instance: String,
    /// The new name
    name: String,
}

const EXAMPLES: &str = "Examples:
  isola rename web web-old
  isola rename 1f3a web
  isola rename $(isola ps -lq) last";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let instance = context.find(&args.instance)?;
    context.engine()?.rename(&instance, &args.name)?;
    Ok(Exit::OK)
}

//! `isola create`

use crate::context::Context;
use crate::create::CreateFlags;
use crate::error::{Exit, Failure, Result};
use crate::output::print_line;

/// Create an instance without starting it
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, after_help = EXAMPLES)]
#[command(override_usage = "isola create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Args {
    #[command(flatten)]
    create: CreateFlags,
}

const EXAMPLES: &str = "Examples:
  isola create --name web nginx
  isola create -it --name shell --vm debian bash
  isola create --restart unless-stopped --cidfile web.id nginx";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let instance = args.create.create(context).map_err(Failure::of_run)?;
    print_line(&instance.record.id)?;
    Ok(Exit::OK)
}

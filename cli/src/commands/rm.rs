//! `isola rm`

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Result};
use crate::output::print_line;

/// Remove instances with everything that they wrote, but not their volumes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Kill those that run; one that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Remove their unnamed volumes, too
    #[arg(short, long)]
    volumes: bool,
    /// Names or ids
    #[arg(required = true, value_name = "INSTANCE", add = ArgValueCandidates::new(complete::instances))]
    instances: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola rm web
  isola rm --force --volumes web db
  isola rm $(isola ps -aq --filter status=exited)";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let engine = context.engine()?;
    let mut absent = Vec::new();
    let exit = context.each(&args.instances, |key| {
        let instance = match context.find(key) {
            Ok(instance) => instance,
            Err(failure) if args.force && failure.code == Code::NoSuch => {
                absent.push(failure);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        engine.remove(&instance, args.force)?;
        if args.volumes {
            engine.remove_anonymous_volumes(&instance)?;
        }
        print_line(key)
    })?;
    // As with Docker: told, but no failure.
    absent.iter().for_each(|failure| context.report(failure));
    Ok(exit)
}

//! `isola compose export`

use std::path::PathBuf;

use super::ProjectArgs;
use super::scope::Scope;
use crate::commands::export;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Write the files of a service's instance as a tar archive, without volumes and mounts
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Number of the instance; the first that runs, if none is given
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Service
    service: String,
}

const EXAMPLES: &str = "Examples:
  isola compose export -o web.tar web
  isola compose export --index 2 worker | tar -t
  isola compose export web | isola import - web:flat";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, std::slice::from_ref(&args.service), context)?;
    let instance = scope.one(&args.service, args.index, context)?;
    let export = export::Args {
        output: args.output.clone(),
        instance: instance.record.id,
    };
    export::run(&export, context)
}

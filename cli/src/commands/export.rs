//! `isola export`

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap_complete::engine::ArgValueCandidates;

use crate::changed::Changed;
use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{stream, write_file};

/// Write an instance's files as a tar archive, without volumes and mounts
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) output: Option<PathBuf>,
    /// Name or id
    #[arg(add = ArgValueCandidates::new(complete::instances))]
    pub(super) instance: String,
}

const EXAMPLES: &str = "Examples:
  isola export -o web.tar web
  isola export web | tar -t
  isola export web | isola import - web:flat";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let instance = context.find(&args.instance)?;
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(
            Failure::new(Code::Usage, "an archive is not written to a terminal")
                .hint("redirect it, or name a file: isola export -o FILE INSTANCE"),
        );
    }
    let store = context.store()?;
    let lease = store.lease()?;
    let changed = Changed::read(context, &store, &lease, &instance, false)?;
    let layers = changed.layers();
    let write = |out: &mut dyn Write| {
        isola_build::write_tree(&layers, out).map_err(|error| crate::build::failure(error, true))
    };
    match &args.output {
        Some(path) => write_file(path, |mut file: &File| write(&mut file as &mut dyn Write))?,
        None => stream(write)?,
    }
    Ok(Exit::OK)
}

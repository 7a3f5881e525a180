//! `isola volume import`

use std::fs::File;
use std::io::{self, IsTerminal};

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};

/// Add the files of a tar archive to a volume
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Name of a volume that is there
    #[arg(add = ArgValueCandidates::new(complete::volumes))]
    volume: String,
    /// Archive, not compressed, or - for standard input
    #[arg(value_name = "FILE", default_value = "-", value_hint = clap::ValueHint::FilePath)]
    source: String,
}

const EXAMPLES: &str = "Examples:
  isola volume import data data.tar
  zstd -dc data.tar.zst | isola volume import data
  tar -C ./www -c . | isola volume import www -";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let volumes = context.volumes()?;
    if args.source != "-" {
        let file = File::open(&args.source)
            .map_err(|error| Failure::system(format!("open {}", args.source), error))?;
        volumes.import(&args.volume, file)?;
    } else if io::stdin().is_terminal() {
        let message = "an archive is not read from a terminal";
        return Err(Failure::new(Code::Usage, message).hint("name a file, or redirect one"));
    } else {
        volumes.import(&args.volume, io::stdin().lock())?;
    }
    Ok(Exit::OK)
}

//! `isola volume export`

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{stream, write_file};

/// Write a volume's files as a tar archive
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// File to write; without it, standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Name
    #[arg(add = ArgValueCandidates::new(complete::volumes))]
    volume: String,
}

const EXAMPLES: &str = "Examples:
  isola volume export -o data.tar data
  isola volume export data | zstd > data.tar.zst
  isola volume export data | ssh other isola volume import data -";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let volumes = context.volumes()?;
    match &args.output {
        Some(path) => write_file(path, |file| Ok(volumes.export(&args.volume, file)?))?,
        None if io::stdout().is_terminal() => {
            return Err(
                Failure::new(Code::Usage, "an archive is not written to a terminal")
                    .hint("name a file with --output, or redirect it"),
            );
        }
        None => stream(|out| Ok(volumes.export(&args.volume, out)?))?,
    }
    Ok(Exit::OK)
}

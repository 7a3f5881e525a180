//! `isola import`

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;

use isola_images::{ImportSource, Reference};

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;
use crate::progress::Progress;

/// Make an image of a root file system, a tar archive or a folder
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR...
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Archive (plain, gzip, zstd), folder, or - for standard input
    #[arg(value_name = "ROOTFS", value_hint = clap::ValueHint::AnyPath)]
    source: String,
    /// Name of the image
    name: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola import rootfs.tar.zst debian
  isola import ./rootfs --change 'CMD [\"/bin/sh\"]' --change 'ENV LANG=C.UTF-8' base:1
  mmdebstrap stable - | isola import - debian:stable";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let name = args
        .name
        .as_deref()
        .map(str::parse::<Reference>)
        .transpose()?;
    let path = Path::new(&args.source);
    let store = context.store()?;
    let progress = Progress::new(args.quiet);
    progress.step(&format!("importing {}", args.source), 0, None);
    let id = if args.source == "-" {
        if io::stdin().is_terminal() {
            return Err(Failure::new(
                Code::Usage,
                "an archive is not read from a terminal",
            ));
        }
        store.import(
            ImportSource::Tar(&mut io::stdin()),
            name.as_ref(),
            &args.change,
        )?
    } else if path.is_dir() {
        store.import(ImportSource::Directory(path), name.as_ref(), &args.change)?
    } else {
        let mut file = File::open(path)
            .map_err(|error| Failure::system(format!("open {}", path.display()), error))?;
        store.import(ImportSource::Tar(&mut file), name.as_ref(), &args.change)?
    };
    drop(progress);
    print_line(&id.to_string())?;
    Ok(Exit::OK)
}

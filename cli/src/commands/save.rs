//! `isola save`

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap_complete::engine::ArgValueCandidates;
use isola_images::registry::Platform;

use crate::complete;
use crate::context::Context;
use crate::demo_image;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{stream, write_file};

/// Write images as an archive that OCI tools and Docker read
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File to write; without it, standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Of images that were pulled for all platforms, only the one for this
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(complete::images))]
    images: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola save -o debian.tar debian
  isola save debian nginx | zstd > images.tar.zst
  isola save --platform linux/arm64 -o arm.tar debian
  isola save isola/demo | docker load";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let platform = args
        .platform
        .as_deref()
        .map(str::parse::<Platform>)
        .transpose()?;
    let platform = platform.as_ref();
    let store = context.store()?;
    // All of them are there before anything is written.
    for image in &args.images {
        demo_image::resolve(&store, image)?;
    }
    match &args.output {
        Some(path) => write_file(path, |file| Ok(store.save(&args.images, platform, file)?))?,
        None if io::stdout().is_terminal() => {
            return Err(
                Failure::new(Code::Usage, "an archive is not written to a terminal")
                    .hint("name a file with --output, or redirect it"),
            );
        }
        None => stream(|out| Ok(store.save(&args.images, platform, out)?))?,
    }
    Ok(Exit::OK)
}

//! `isola save`

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap_complete::engine::ArgValueCandidates;
use isola_images::Store;

use crate::complete;
use crate::context::Context;
use crate::demo_image;
use crate::error::{Code, Exit, Failure, Result};

/// Write images as an archive that OCI tools and Docker read
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File to write; without it, standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCandidates::new(complete::images))]
    images: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola save -o debian.tar debian
  isola save debian nginx | zstd > images.tar.zst
  isola save isola/demo | docker load";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let store = context.store()?;
    // All of them are there before anything is written.
    for image in &args.images {
        demo_image::resolve(&store, image)?;
    }
    match &args.output {
        Some(path) => save_to(&store, &args.images, path)?,
        None if io::stdout().is_terminal() => {
            return Err(
                Failure::new(Code::Usage, "an archive is not written to a terminal")
                    .hint("name a file with --output, or redirect it"),
            );
        }
        None => store
            .save(&args.images, io::stdout())
            .map_err(|error| match error {
                isola_images::Error::Write(error) => Failure::output(error),
                other => other.into(),
            })?,
    }
    Ok(Exit::OK)
}

/// The file is there whole or not at all.
fn save_to(store: &Store, images: &[String], path: &Path) -> Result<()> {
    let failed = |error: io::Error| Failure::system(format!("write {}", path.display()), error);
    if !path.is_file() && path.exists() {
        // A device or a pipe can't be replaced.
        let file = fs::File::options().write(true).open(path).map_err(failed)?;
        return Ok(store.save(images, file)?);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let file = fs::File::create_new(&partial).map_err(failed)?;
    let saved = store
        .save(images, &file)
        .map_err(Failure::from)
        .and_then(|()| file.sync_all().map_err(failed))
        .and_then(|()| fs::rename(&partial, path).map_err(failed));
    if saved.is_err() {
        let _ = fs::remove_file(&partial);
    }
    saved
}

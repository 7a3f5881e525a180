//! `isola load`

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use isola_images::{Loaded, Progress as Event};
use serde_json::json;

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{decimal_size, print_line};
use crate::progress::Progress;

/// Add images from an archive: an OCI image layout or a `docker save`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The archive, plain or compressed by gzip or zstd; without it, standard input
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    input: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// json prints an object for each image
    #[arg(long, value_parser = ["json"])]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola load -i debian.tar
  docker save nginx | isola load
  isola load --quiet < image.oci.tar.zst";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let archive: Box<dyn Read> = match args.input.as_ref().filter(|path| path.as_os_str() != "-") {
        Some(path) => Box::new(
            File::open(path)
                .map_err(|error| Failure::system(format!("open {}", path.display()), error))?,
        ),
        None if io::stdin().is_terminal() => {
            return Err(
                Failure::new(Code::Usage, "an archive is not read from a terminal")
                    .hint("name it with --input, or redirect it: isola load < image.tar"),
            );
        }
        None => Box::new(io::stdin()),
    };
    let store = context.store()?;
    let progress = Progress::new(args.quiet);
    let loaded = store.load(archive, &|event| match event {
        Event::Read { bytes } => progress.step("loading", bytes, None),
        Event::Layer { diff_id, size } => {
            progress.step(
                &format!(
                    "layer {} is ready ({})",
                    diff_id.short(),
                    decimal_size(size)
                ),
                0,
                None,
            );
        }
        _ => {}
    })?;
    drop(progress);
    loaded
        .iter()
        .try_for_each(|image| tell(image, args.format.is_some()))?;
    Ok(Exit::OK)
}

fn tell(image: &Loaded, as_json: bool) -> Result<()> {
    let names: Vec<String> = image
        .references
        .iter()
        .map(|reference| reference.familiar())
        .collect();
    if as_json {
        return print_line(&json!({"ID": image.id.to_string(), "Names": names}).to_string());
    }
    if names.is_empty() {
        return print_line(&format!("Loaded image ID: {}", image.id));
    }
    names
        .iter()
        .try_for_each(|name| print_line(&format!("Loaded image: {name}")))
}

//! `isola tag`

use clap_complete::engine::ArgValueCandidates;
use isola_images::Reference;

use crate::complete;
use crate::context::Context;
use crate::demo_image;
use crate::error::{Exit, Result};

/// Give an image a further name
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name or id
    #[arg(add = ArgValueCandidates::new(complete::images))]
    image: String,
    /// The new name; one that is in use moves to this image
    name: String,
}

const EXAMPLES: &str = "Examples:
  isola tag debian debian:stable
  isola tag 1f3a5c registry.example.org/team/web:2
  isola tag isola/demo demo";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let name: Reference = args.name.parse()?;
    let store = context.store()?;
    let image = demo_image::resolve(&store, &args.image)?;
    store.tag(&args.image, &name)?;
    drop(image);
    Ok(Exit::OK)
}

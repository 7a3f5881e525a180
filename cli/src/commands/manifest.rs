//! `isola manifest`

use clap::Subcommand;
use isola_images::Reference;

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{print, print_json};

/// Look at manifests and indexes on registries
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Inspect(InspectArgs),
}

/// Show what a name leads to on its registry, as JSON; nothing is pulled
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// Exactly the bytes that the registry has, which the digest is of
    #[arg(long)]
    raw: bool,
    /// Name, with :TAG or @DIGEST
    #[arg(value_name = "NAME")]
    name: String,
}

const EXAMPLES: &str = "Examples:
  isola manifest inspect debian:12
  isola manifest inspect localhost:5000/web@sha256:1f3a...
  isola manifest inspect --raw debian | sha256sum";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let Verb::Inspect(args) = &args.verb;
    let reference: Reference = args.name.parse()?;
    let (bytes, _) = context.registries()?.manifest(&reference)?;
    if args.raw {
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Failure::new(Code::BadImage, "the manifest is not text"))?;
        print(&text)?;
        return Ok(Exit::OK);
    }
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(
            Code::BadImage,
            format!("the manifest is malformed: {error}"),
        )
    })?;
    print_json(&value)?;
    Ok(Exit::OK)
}

//! `isola pull`

use isola_images::Reference;
use isola_images::registry::{self, Platform, Platforms, Pulled};
use serde_json::json;

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;
use crate::pulling;
use crate::transfers::Transfers;

/// Get images from their registries
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Platform to get, this machine's if not given; others can be pushed and saved, not run
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Get the index with the images for all of its platforms, to be pushed or saved as it is
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// Get every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Print names only, and no progress
    #[arg(short, long)]
    quiet: bool,
    /// json prints an object for each image
    #[arg(long, value_parser = ["json"])]
    format: Option<String>,
    /// Names, with :TAG or @DIGEST
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola pull debian:12
  isola pull registry.example.org:5000/team/web@sha256:1f3a...
  isola pull --platform linux/arm64 debian
  isola pull --all-platforms debian:12
  isola pull --all-tags localhost:5000/team/web";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let platform = args
        .platform
        .as_deref()
        .map(str::parse::<Platform>)
        .transpose()?;
    let platforms = match &platform {
        Some(platform) => Platforms::One(platform),
        None if args.all_platforms => Platforms::All,
        None => Platforms::Native,
    };
    let store = context.store()?;
    context.each(&args.names, |name| {
        let references = match args.all_tags {
            true => all_tags(context, name, args.quiet)?,
            false => vec![name.parse()?],
        };
        for reference in references {
            let pulled = pulling::pull(context, &store, &reference, platforms, args.quiet)?;
            tell(&reference, &pulled, args)?;
        }
        Ok(())
    })
}

/// What the registry has of a repository.
fn all_tags(context: &Context, name: &str, quiet: bool) -> Result<Vec<Reference>> {
    let repository = Reference::repository(name)?;
    let client = context.registries()?;
    let transfers = Transfers::of_pull(quiet);
    let found = registry::tags(&client, &repository, &|event| transfers.tell(event));
    Ok(found?)
}

/// In Docker's words.
fn tell(reference: &Reference, pulled: &Pulled, args: &Args) -> Result<()> {
    if args.format.is_some() {
        let value = json!({
            "Name": pulled.reference.to_string(),
            "Digest": pulled.digest,
            "ID": pulled.id,
            "New": pulled.new,
        });
        return print_line(&value.to_string());
    }
    if !args.quiet {
        print_line(&format!("Digest: {}", pulled.digest))?;
        let status = match pulled.new {
            true => "Downloaded newer image for",
            false => "Image is up to date for",
        };
        print_line(&format!("Status: {status} {}", reference.familiar()))?;
    }
    print_line(&reference.to_string())
}

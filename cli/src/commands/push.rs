//! `isola push`

use clap_complete::engine::ArgValueCandidates;
use isola_images::Reference;
use isola_images::registry::Platform;
use serde_json::json;

use crate::complete;
use crate::context::Context;
use crate::demo_image;
use crate::error::{Exit, Result};
use crate::output::print_line;
use crate::transfers::Transfers;

/// Send images to their registries
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only the image for this platform; without it, an index that was pulled for all goes whole
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(super) platform: Option<String>,
    /// Send every tag that the repository has here
    #[arg(short, long)]
    pub(super) all_tags: bool,
    /// Print names only, and no progress
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// json prints an object for each image
    #[arg(long, value_parser = ["json"])]
    pub(super) format: Option<String>,
    /// Names that images have here; they tell the registry
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(complete::images))]
    pub(super) names: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola push registry.example.org:5000/team/web:2
  isola tag web localhost:5000/web && isola push localhost:5000/web
  isola push --platform linux/arm64 team/web
  isola push --all-tags localhost:5000/web";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let platform = args
        .platform
        .as_deref()
        .map(str::parse::<Platform>)
        .transpose()?;
    context.each(&args.names, |name| {
        let references = match args.all_tags {
            true => all_tags(context, name)?,
            false => vec![name.parse()?],
        };
        for reference in &references {
            push(args, platform.as_ref(), context, reference)?;
        }
        Ok(())
    })
}

/// What is here of a repository.
fn all_tags(context: &Context, name: &str) -> Result<Vec<Reference>> {
    let repository = Reference::repository(name)?;
    let images = context.store()?.list()?;
    let names = images.into_iter().flat_map(|image| image.references);
    let mut found: Vec<_> = names
        .filter(|reference| reference.is_beside(&repository) && reference.tag().is_some())
        .collect();
    found.sort_by(|a, b| a.tag().cmp(&b.tag()));
    match found.is_empty() {
        true => Err(isola_images::Error::NotFound(name.to_owned()).into()),
        false => Ok(found),
    }
}

fn push(
    args: &Args,
    platform: Option<&Platform>,
    context: &Context,
    reference: &Reference,
) -> Result<()> {
    let name = reference.familiar();
    let store = context.store()?;
    if reference.familiar_name() == isola_images::DEMO {
        drop(demo_image::resolve(&store, &name)?);
    }
    let client = context.registries()?;
    let transfers = Transfers::of_push(args.quiet);
    let pushed = store.push(&client, reference, platform, &|event| transfers.tell(event));
    drop(transfers);
    let pushed = pushed?;
    if pushed.alone && !args.quiet {
        context.notice(&format!(
            "{name} came by an index for several platforms; only the image that is here was pushed \
             (`isola pull --all-platforms` gets all)"
        ));
    }
    if args.format.is_some() {
        let value = json!({
            "Name": reference.to_string(),
            "Digest": pushed.digest,
            "Size": pushed.size,
        });
        return print_line(&value.to_string());
    }
    if args.quiet {
        return print_line(&reference.to_string());
    }
    let tag = reference.tag().unwrap_or("digest");
    print_line(&format!(
        "{tag}: digest: {} size: {}",
        pushed.digest, pushed.size
    ))
}

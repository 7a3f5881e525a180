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
  isola push --quiet team/web team/web:2";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let platform = args
        .platform
        .as_deref()
        .map(str::parse::<Platform>)
        .transpose()?;
    context.each(&args.names, |name| {
        push(args, platform.as_ref(), context, name)
    })
}

fn push(args: &Args, platform: Option<&Platform>, context: &Context, name: &str) -> Result<()> {
    let reference: Reference = name.parse()?;
    let store = context.store()?;
    if reference.familiar_name() == isola_images::DEMO {
        drop(demo_image::resolve(&store, name)?);
    }
    let client = context.registries()?;
    let transfers = Transfers::of_push(args.quiet);
    let pushed = store.push(&client, &reference, platform, &|event| {
        transfers.tell(event)
    });
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

//! `isola compose cp`

use super::ProjectArgs;
use super::scope::Scope;
use crate::commands::cp;
use crate::context::Context;
use crate::copy::End;
use crate::error::{Code, Exit, Failure, Result};

/// Copy files between a service and this host, in either direction
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Number of the instance; without it, all when files go to them, else the first
    #[arg(long, value_name = "NUMBER", conflicts_with = "all")]
    index: Option<u32>,
    /// Those of `run`, too
    #[arg(long)]
    all: bool,
    /// Keep owners and groups
    #[arg(short, long)]
    archive: bool,
    /// Follow SOURCE when it is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// SERVICE:PATH, a path of this host, or - for a tar archive on standard input
    #[arg(allow_hyphen_values = true)]
    source: String,
    /// SERVICE:PATH, a path of this host, or - for a tar archive on standard output
    #[arg(allow_hyphen_values = true)]
    destination: String,
}

const EXAMPLES: &str = "Examples:
  isola compose cp site/. web:/srv/www
  isola compose cp --index 2 config.json worker:/etc/app/
  isola compose cp db:/data - | gzip > data.tar.gz";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let (source, destination) = (End::parse(&args.source)?, End::parse(&args.destination)?);
    let copy = |source: String, destination: String| {
        let args = cp::Args {
            archive: args.archive,
            follow_link: args.follow_link,
            quiet: false,
            source,
            destination,
        };
        cp::run(&args, context)
    };
    let (service, path, inwards) = match (source, destination) {
        (End::Instance { instance, path }, other) if !matches!(other, End::Instance { .. }) => {
            (instance, path, false)
        }
        (other, End::Instance { instance, path }) if !matches!(other, End::Instance { .. }) => {
            (instance, path, true)
        }
        _ => {
            let message =
                "one of source and destination is SERVICE:PATH, the other is of this host";
            return Err(Failure::new(Code::Copy, message));
        }
    };
    let scope = Scope::of_any(project, std::slice::from_ref(&service), context)?;
    let ids: Vec<String> = match inwards && args.index.is_none() {
        true => {
            let present = scope.present(context)?.instances.into_iter();
            let meant = present.filter(|here| here.service == service);
            let meant = meant.filter(|here| args.all || !here.one_off);
            meant.map(|here| here.id).collect()
        }
        false => Vec::new(),
    };
    let ids = match ids.is_empty() {
        true => vec![scope.one(&service, args.index, context)?.record.id],
        false => ids,
    };
    for id in ids {
        let end = format!("{id}:{path}");
        match inwards {
            true => copy(args.source.clone(), end)?,
            false => copy(end, args.destination.clone())?,
        };
    }
    Ok(Exit::OK)
}

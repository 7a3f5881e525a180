//! `isola cp`

use std::io::Write;

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::copy::{End, Transfer};
use crate::error::{Code, Exit, Failure, Result};

/// Copy files between an instance and this host, in either direction
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Keep owners and groups
    #[arg(short, long)]
    pub(super) archive: bool,
    /// Follow SOURCE when it is a symbolic link
    #[arg(short = 'L', long)]
    pub(super) follow_link: bool,
    /// Accepted for Docker's sake; nothing is ever printed on success
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// INSTANCE:PATH, a path of this host, or - for a tar archive on standard input
    #[arg(allow_hyphen_values = true, add = ArgValueCandidates::new(complete::instance_paths))]
    pub(super) source: String,
    /// INSTANCE:PATH, a path of this host, or - for a tar archive on standard output
    #[arg(allow_hyphen_values = true, add = ArgValueCandidates::new(complete::instance_paths))]
    pub(super) destination: String,
}

const EXAMPLES: &str = "Examples:
  isola cp site/. web:/srv/www
  isola cp web:/var/log/nginx ./logs
  isola cp db:/data - | gzip > data.tar.gz";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let source = End::parse(&args.source)?;
    let destination = End::parse(&args.destination)?;
    let engine = context.engine()?;
    let open =
        |name: &str| Transfer::open(engine, &engine.find(name)?, args.archive, args.follow_link);
    let skipped = match (&source, &destination) {
        (End::Instance { instance, path }, End::Host(target)) => {
            open(instance)?.copy_out(path, target)?
        }
        (End::Host(source), End::Instance { instance, path }) => {
            open(instance)?.copy_in(source, path)?
        }
        (End::Instance { instance, path }, End::Stream) => {
            open(instance)?.stream_out(path)?;
            Vec::new()
        }
        (End::Stream, End::Instance { instance, path }) => {
            open(instance)?.stream_in(path)?;
            Vec::new()
        }
        (End::Instance { .. }, End::Instance { .. }) => {
            let failure = Failure::new(
                Code::Copy,
                "copies between two instances go through this host",
            );
            return Err(failure.hint("isola cp A:PATH - | isola cp - B:PATH"));
        }
        _ => {
            let message = "one of SOURCE and DESTINATION must be INSTANCE:PATH";
            return Err(Failure::new(Code::Copy, message));
        }
    };
    for path in skipped {
        let _ = writeln!(
            std::io::stderr(),
            "left out: {} (a device or a socket)",
            path.display()
        );
    }
    Ok(Exit::OK)
}

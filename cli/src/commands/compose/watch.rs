//! `isola compose watch`

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use isola_init::stream::PollSet;

use super::ProjectArgs;
use super::up::MakeArgs;
use super::watching::{self, Rebuilds, Watching};
use super::work::{self, How};
use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::streams::Signals;

/// Start services, and bring them up to date when files change
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Do not start services first
    #[arg(long)]
    no_up: bool,
    /// Do not show what builds write
    #[arg(long)]
    quiet: bool,
    /// Remove the images that rebuilds leave without a name
    #[arg(long, overrides_with = "no_prune")]
    prune: bool,
    /// Keep these images
    #[arg(long)]
    no_prune: bool,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose watch
  isola compose watch --no-up web
  isola compose up --watch";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let make = MakeArgs::scaling(args.services.clone(), Vec::new(), false);
    let scope = make.scope(project, context)?;
    let rules = watching::rules(&scope)?;
    let rebuilds = Rebuilds {
        quiet: args.quiet,
        prune: args.prune || !args.no_prune,
    };
    if !args.no_up {
        let ready = make.prepare(&scope, false, false, context)?;
        let how = How {
            quiet: args.quiet,
            ..make.how()
        };
        work::carry_out(context, &scope, &ready.plan, &ready.images, &how)?;
    }
    let failed = |error| Failure::system("make a pair of sockets", error);
    let (over, done) = UnixStream::pair().map_err(failed)?;
    let signals = Signals::catch(true, false)?;
    let other = context.again();
    let (send, stoppers) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        let (scope, rules, other) = (&scope, &rules, other);
        let watching = threads.spawn(move || {
            let _over = over;
            let watching = Watching::begin(scope, rules, rebuilds, &other)?;
            let _ = send.send(watching.stopper());
            watching.run()
        });
        let signal = wait(&signals, &done)?;
        if let (Some(_), Ok(stopper)) = (signal, stoppers.recv()) {
            stopper.stop();
        }
        match watching.join() {
            Ok(ended) => ended?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        Ok(signal.map_or(Exit::OK, |signal| Exit::of(128 + signal)))
    })
}

/// Waits for the user's signal; `None` when the other end of `done` is closed first.
fn wait(signals: &Signals, done: &UnixStream) -> Result<Option<i32>> {
    let mut set = PollSet::default();
    loop {
        set.clear();
        set.add(signals.as_fd(), true, false);
        set.add(done.as_fd(), true, false);
        set.wait(None)
            .map_err(|error| Failure::system("wait for changes", error))?;
        if let Some(signal) = signals.next() {
            return Ok(Some(signal as i32));
        }
        if set.readable(done.as_fd()) || set.hangup(done.as_fd()) {
            return Ok(None);
        }
    }
}

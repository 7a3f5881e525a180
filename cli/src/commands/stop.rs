//! `isola stop`

use clap_complete::engine::ArgValueCandidates;
use isola_runtime::workload::parse_signal;

use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;

/// Ask instances to end, and end them after a timeout
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    /// Names or ids
    #[arg(required = true, value_name = "INSTANCE", add = ArgValueCandidates::new(complete::running))]
    instances: Vec<String>,
}

/// How instances are asked, for `stop` and `restart`.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Signal instead of the instance's own
    #[arg(short, long, add = ArgValueCandidates::new(complete::signals))]
    signal: Option<String>,
    /// Seconds until SIGKILL instead of the instance's own; -1 waits for ever
    #[arg(
        short,
        long,
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
}

impl How {
    /// Timeout in seconds and number of the signal.
    pub(crate) fn read(&self) -> Result<(Option<u64>, Option<i32>)> {
        let signal = self.signal.as_deref().map(signal).transpose()?;
        let timeout = self
            .timeout
            .map(|seconds| u64::try_from(seconds).unwrap_or(u64::MAX));
        Ok((timeout, signal))
    }
}

/// The number of a signal that the user named.
pub(crate) fn signal(text: &str) -> Result<i32> {
    parse_signal(text)
        .map_err(|why| Failure::new(Code::Invalid, format!("invalid signal {text:?}: {why}")))
}

const EXAMPLES: &str = "Examples:
  isola stop web
  isola stop --timeout 30 db
  isola stop --signal INT $(isola ps -q)";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let (timeout, signal) = args.how.read()?;
    let engine = context.engine()?;
    context.each(&args.instances, |key| {
        let instance = engine.find(key)?;
        // As with Docker, one that does not run is no error.
        if instance.status.state.is_live() {
            engine.stop(&instance, timeout, signal)?;
        }
        print_line(key)
    })
}

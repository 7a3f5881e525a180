//! `isola attach`

use clap_complete::engine::ArgValueCandidates;
use isola_runtime::control::Command;

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::session::Session;
use crate::terminal;

/// Attach this terminal to the first process of a running instance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Do not attach standard input
    #[arg(long)]
    pub(super) no_stdin: bool,
    /// Keys that leave the instance running, ctrl-p,ctrl-q if nothing else is set
    #[arg(long, value_name = "KEYS")]
    pub(super) detach_keys: Option<String>,
    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub(super) sig_proxy: bool,
    /// Name or id
    #[arg(value_name = "INSTANCE", add = ArgValueCandidates::new(complete::running))]
    pub(super) instance: String,
}

const EXAMPLES: &str = "Examples:
  isola attach shell
  isola attach --no-stdin web
  isola attach --detach-keys ctrl-a,d shell";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let keys = context.detach_keys(args.detach_keys.as_deref())?;
    let instance = context.find(&args.instance)?;
    let workload = &instance.record.workload;
    let stdin = workload.stdin_open && !args.no_stdin;
    terminal::require(workload.tty, stdin)?;
    let mut control = context.engine()?.connect(&instance)?;
    let channel = control.channel();
    control.send(&Command::Attach { channel, stdin });
    if let Some(size) = terminal::size().filter(|_| workload.tty) {
        control.send(&Command::Resize { channel, size });
    }
    let session = Session {
        channel,
        tty: workload.tty,
        stdin,
        stdout: true,
        stderr: true,
        sig_proxy: args.sig_proxy,
        detach_keys: keys,
        name: instance.record.name.clone(),
    };
    session.run(&mut control).map(|end| end.exit())
}

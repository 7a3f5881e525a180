//! `isola compose attach`

use super::ProjectArgs;
use super::scope::Scope;
use crate::commands::attach;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Attach this terminal to the first process of a service
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Number of the instance; the first that runs, if none is given
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Do not attach standard input
    #[arg(long)]
    no_stdin: bool,
    /// Keys that leave the instance running, ctrl-p,ctrl-q if nothing else is set
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Service
    service: String,
}

const EXAMPLES: &str = "Examples:
  isola compose attach web
  isola compose attach --index 2 worker
  isola compose attach --no-stdin --sig-proxy=false db";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, std::slice::from_ref(&args.service), context)?;
    let instance = scope.one(&args.service, args.index, context)?;
    let args = attach::Args {
        no_stdin: args.no_stdin,
        detach_keys: args.detach_keys.clone(),
        sig_proxy: args.sig_proxy,
        instance: instance.record.id,
    };
    attach::run(&args, context)
}

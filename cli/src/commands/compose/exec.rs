//! `isola compose exec`

use std::io::IsTerminal;

use isola_runtime::workload::ExecOptions;

use super::ProjectArgs;
use super::scope::Scope;
use crate::commands::exec::exec_in;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::terminal;

/// Run a further command in an instance of a service
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Number of the instance; the first that runs, if none is given
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Without a terminal, which it has by default where this command has one
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    no_tty: bool,
    /// With a terminal: accepted for Docker's sake, as it has one anyway
    #[arg(short, long, hide = true, overrides_with = "no_tty", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_name = "BOOL")]
    tty: Option<bool>,
    /// Pass standard input on
    #[arg(short, long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    interactive: bool,
    /// Name or number, with :GROUP if wanted
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Variable NAME=VALUE, or NAME to pass the user's own on
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// All capabilities
    #[arg(long)]
    privileged: bool,
    /// Service, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, num_args = 2.., value_name = "SERVICE COMMAND")]
    words: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose exec web sh
  isola compose exec --index 2 worker cat /proc/1/cmdline
  isola compose exec -T db pg_dump shop > dump.sql";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let keys = context.detach_keys(None)?;
    let (service, command) = args
        .words
        .split_first()
        .ok_or_else(|| Failure::new(Code::Usage, "a service and a command are needed"))?;
    let scope = Scope::of_any(project, std::slice::from_ref(service), context)?;
    let instance = scope.one(service, args.index, context)?;
    let wanted = !args.no_tty && args.tty != Some(false) && !args.detach;
    let tty = wanted && terminal::is_input() && std::io::stdout().is_terminal();
    let options = ExecOptions {
        args: command.to_vec(),
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        env: args.env.clone(),
        tty,
        interactive: args.interactive && !args.detach,
        privileged: args.privileged,
        ..ExecOptions::default()
    };
    exec_in(context, &instance, &options, args.detach, keys)
}

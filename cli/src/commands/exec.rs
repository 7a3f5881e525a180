//! `isola exec`

use clap_complete::engine::ArgValueCandidates;
use isola_proto::Event;
use isola_runtime::control::Command;
use isola_runtime::engine::Instance;
use isola_runtime::workload::ExecOptions;

use crate::complete;
use crate::context::{Context, further_process};
use crate::error::{Code, Exit, Failure, Result};
use crate::session::Session;
use crate::streams::Keys;
use crate::terminal;

/// Run a further command in a running instance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(override_usage = "isola exec [OPTIONS] INSTANCE COMMAND [ARG...]")]
pub(crate) struct Args {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Name or number, with :GROUP if wanted
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Variable NAME=VALUE, or NAME to pass the user's own on
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// File with a variable on each line
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    env_file: Vec<String>,
    /// All capabilities
    #[arg(long)]
    privileged: bool,
    /// Keys that leave the command running, ctrl-p,ctrl-q if nothing else is set
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Name or id, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, num_args = 2.., value_name = "INSTANCE COMMAND")]
    #[arg(add = ArgValueCandidates::new(complete::running))]
    words: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola exec -it web bash
  isola exec -u nobody -w /tmp -e LANG=C web id
  isola exec -i db sh -c 'cat > /tmp/dump' < dump";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let keys = context.detach_keys(args.detach_keys.as_deref())?;
    let (key, command) = args
        .words
        .split_first()
        .ok_or_else(|| Failure::new(Code::Usage, "an instance and a command are needed"))?;
    let stdin = args.interactive && !args.detach;
    terminal::require(args.tty && !args.detach, stdin)?;
    let engine = context.engine()?;
    let instance = engine.find(key)?;
    let options = ExecOptions {
        args: command.to_vec(),
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        env: args.env.clone(),
        env_file: args.env_file.clone(),
        tty: args.tty,
        interactive: stdin,
        privileged: args.privileged,
    };
    exec_in(context, &instance, &options, args.detach, keys)
}

/// Runs a further process in an instance, with this command's streams unless it is
/// detached.
pub(crate) fn exec_in(
    context: &Context,
    instance: &Instance,
    options: &ExecOptions,
    detach: bool,
    keys: Keys,
) -> Result<Exit> {
    let process = further_process(instance, options)?;
    let mut control = context.engine()?.connect(instance)?;
    let channel = control.channel();
    let request = Command::Exec {
        channel,
        process: Box::new(process),
        detach,
    };
    let answer = control
        .ask(&request)
        .map_err(|error| exit_code(error.into()))?;
    if detach {
        return Ok(Exit::OK);
    }
    debug_assert!(matches!(answer, Event::Started { .. }));
    let session = Session {
        channel,
        tty: options.tty,
        stdin: options.interactive,
        stdout: true,
        stderr: true,
        sig_proxy: true,
        detach_keys: keys,
        name: instance.record.name.clone(),
    };
    session.run(&mut control).map(|end| end.exit())
}

/// 127 for a program that is not there; 126 for whatever else keeps it from
/// being started.
fn exit_code(failure: Failure) -> Failure {
    let exit = match failure.code {
        Code::ProgramNotFound => 127,
        Code::NotExecutable | Code::System => 126,
        _ => 1,
    };
    failure.exit(exit)
}

//! `isola run`

use isola_runtime::engine::{Instance, Launch};

use crate::context::Context;
use crate::create::CreateFlags;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;
use crate::session::Session;
use crate::streams::Keys;
use crate::terminal;

/// Create an instance from an image and run it
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, after_help = EXAMPLES)]
#[command(override_usage = "isola run [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Args {
    /// Run in the background and print the id
    #[arg(short, long)]
    detach: bool,
    /// Attach STDIN, STDOUT or STDERR only
    #[arg(
        short,
        long,
        value_name = "STREAM",
        conflicts_with = "detach",
        ignore_case = true
    )]
    #[arg(value_parser = ["stdin", "stdout", "stderr"])]
    attach: Vec<String>,
    /// Keys that leave the instance running, ctrl-p,ctrl-q if nothing else is set
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    sig_proxy: bool,
    #[command(flatten)]
    create: CreateFlags,
}

const EXAMPLES: &str = "Examples:
  isola run --rm -it debian bash
  isola run -d --name web --memory 256m -v ./site:/srv:ro nginx
  isola run --rm --isolation vm,emulated isola/demo uname -r";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    run_instance(args, context).map_err(Failure::of_run)
}

fn run_instance(args: &Args, context: &Context) -> Result<Exit> {
    let keys = context.detach_keys(args.detach_keys.as_deref())?;
    let attach = Streams::of(args);
    terminal::require(args.create.tty(), attach.stdin)?;
    let instance = args.create.create(context)?;
    let engine = context.engine()?;
    let launch = Launch {
        attach: !args.detach,
        stdin: attach.stdin,
        size: args.create.tty().then(terminal::size).flatten(),
    };
    let (mut control, channel) = match engine.start(&instance, launch) {
        Ok(started) => started,
        Err(error) => return Err(not_started(&instance, error.into(), context)),
    };
    context.notices(&control);
    if args.detach {
        print_line(&instance.record.id)?;
        return Ok(Exit::OK);
    }
    session(args, channel, &attach, keys, &instance)
        .run(&mut control)
        .map(|end| end.exit())
}

fn session(
    args: &Args,
    channel: u32,
    attach: &Streams,
    keys: Keys,
    instance: &Instance,
) -> Session {
    Session {
        channel,
        tty: args.create.tty(),
        stdin: attach.stdin,
        stdout: attach.stdout,
        stderr: attach.stderr,
        sig_proxy: args.sig_proxy,
        detach_keys: keys,
        name: instance.record.name.clone(),
    }
}

/// The streams that are attached.
struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Streams {
    fn of(args: &Args) -> Streams {
        let named = |stream: &str| {
            args.attach
                .iter()
                .any(|word| word.eq_ignore_ascii_case(stream))
        };
        let all = args.attach.is_empty() && !args.detach;
        Streams {
            stdin: (named("stdin") || all) && args.create.interactive(),
            stdout: named("stdout") || all,
            stderr: named("stderr") || all,
        }
    }
}

/// As with Docker an instance that could not be started stays, unless it was to
/// be removed at its end.
fn not_started(instance: &Instance, failure: Failure, context: &Context) -> Failure {
    if instance.record.workload.auto_remove
        && let Ok(engine) = context.engine()
        && let Err(error) = engine.remove(instance, true)
        && error.kind != isola_runtime::Kind::NoSuch
    {
        context.report(&error.into());
    }
    let hintless = failure.hint.is_none();
    match failure.code {
        Code::ProgramNotFound if hintless => {
            failure.hint("what follows the image's name is the program to run; --entrypoint replaces the image's own")
        }
        _ => failure,
    }
}

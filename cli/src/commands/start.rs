//! `isola start`

use clap_complete::engine::ArgValueCandidates;
use isola_runtime::engine::Launch;

use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;
use crate::session::Session;
use crate::terminal;

/// Start instances that are stopped or were only created
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Attach output and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach standard input
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave the instance running, ctrl-p,ctrl-q if nothing else is set
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "INSTANCE", add = ArgValueCandidates::new(complete::stopped))]
    instances: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola start web
  isola start -ai shell
  isola start $(isola ps -aq --filter status=exited)";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    if args.attach || args.interactive {
        return attached(args, context);
    }
    let engine = context.engine()?;
    context.each(&args.instances, |key| {
        let instance = engine.find(key)?;
        // As with Docker, one that runs is no error.
        if !instance.status.state.is_live() {
            let (control, _) = engine.start(&instance, Launch::default())?;
            context.notices(&control);
        }
        print_line(key)
    })
}

fn attached(args: &Args, context: &Context) -> Result<Exit> {
    let keys = context.detach_keys(args.detach_keys.as_deref())?;
    let [key] = args.instances.as_slice() else {
        return Err(Failure::new(
            Code::Usage,
            "only one instance can be started and attached",
        ));
    };
    let instance = context.find(key)?;
    let workload = &instance.record.workload;
    let stdin = args.interactive && workload.stdin_open;
    terminal::require(workload.tty, stdin)?;
    let launch = Launch {
        attach: true,
        stdin,
        size: workload.tty.then(terminal::size).flatten(),
    };
    let (mut control, channel) = context.engine()?.start(&instance, launch)?;
    context.notices(&control);
    let session = Session {
        channel,
        tty: workload.tty,
        stdin,
        stdout: true,
        stderr: true,
        sig_proxy: true,
        detach_keys: keys,
        name: instance.record.name.clone(),
    };
    session.run(&mut control).map(|end| end.exit())
}

//! The lab: a virtual machine whose kernel, cgroup layout and devices are ours
//! to choose, with a true KVM in it. QEMU's software processor has AMD's SVM
//! with nested paging, so this needs no hardware.
//!
//! It sees the workspace, /usr and folders given with `--rw` under their own
//! names (9p), has a scratch disk on /var, cgroup v2 only, and no network but
//! loopback.

mod base;
mod job;
mod machine;
mod slot;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use job::Job;
pub(crate) use machine::End;

use crate::Result;
use crate::workspace::Workspace;

/// `cargo xtask lab`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folders of this machine that the command may write to
    #[arg(long, value_name = "DIR")]
    rw: Vec<PathBuf>,
    /// Further folders that it can read
    #[arg(long, value_name = "DIR")]
    ro: Vec<PathBuf>,
    /// Variables for it
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Take the default guest kernel along, to the same path
    #[arg(long)]
    kernel: bool,
    /// Seconds after which the machine is switched off
    #[arg(long, default_value_t = 1500)]
    timeout: u64,
    /// Show the kernel's messages
    #[arg(long)]
    console: bool,
    /// The command; its exit code is passed on
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs a command in the lab.
pub(crate) fn main(args: &Args) -> Result {
    let workspace = Workspace::find()?;
    let mut job = Job::new(&workspace, args.command.clone())?;
    for dir in &args.rw {
        job.share(dir, true)?;
    }
    for dir in &args.ro {
        job.share(dir, false)?;
    }
    for variable in &args.env {
        let (name, value) = variable.split_once('=').ok_or("--env wants NAME=VALUE")?;
        job.env(name, value);
    }
    if args.kernel {
        job.take_kernel()?;
    }
    job.console = args.console;
    job.timeout = Duration::from_secs(args.timeout);
    Ok(ExitCode::from(run(&job)?))
}

/// Makes what every run needs, so that runs at once do not wait for each other.
pub(crate) fn prepare() -> Result<()> {
    base::prepare().map(drop)
}

/// Runs a job and gives the command's exit code; 124 on a timeout.
pub(crate) fn run(job: &Job) -> Result<u8> {
    match run_watched(job, &|_| ())? {
        End::Code(code) => Ok(code),
        end @ End::OutOfTime(_) => {
            eprintln!("{end}");
            Ok(124)
        }
        lost => Err(lost.to_string().into()),
    }
}

/// Runs a job and lets the caller see each line of its output.
pub(crate) fn run_watched(job: &Job, see: &(dyn Fn(&str) + Sync)) -> Result<End> {
    let base = base::prepare()?;
    let _slot = slot::take()?;
    machine::run(&base, job, see)
}

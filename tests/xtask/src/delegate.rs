//! Benches and fuzz targets are programs of their own, so that starting a task
//! does not compile all of Isola first.

use std::process::{Command, ExitCode};

use crate::lab::{self, Job};
use crate::process::run;
use crate::workspace::{Workspace, cargo};
use crate::{Result, build, kernel, setup};

/// Rounds in the lab, where each takes seconds.
const LAB_ROUNDS: u32 = 10;

/// `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// Install the programs to compare with
    #[arg(long)]
    peers: bool,
    /// Rounds of each pair
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Only benches of these names, or whose names contain one of these
    filter: Vec<String>,
}

/// `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct FuzzArgs {
    /// Seconds for each target
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Where the random numbers start; the same inputs come from the same number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only targets whose names contain one of these
    filter: Vec<String>,
}

/// Builds for release and runs the benches.
pub(crate) fn bench(args: &BenchArgs) -> Result {
    let workspace = Workspace::find()?;
    setup::main(&setup::Args { peers: args.peers })?;
    let programs = build::release(&workspace)?;
    kernel::ensure()?;
    run(cargo()
        .current_dir(&workspace.root)
        .args(["build", "--release", "-p", "isola-bench"]))?;
    let bench = programs.join("isola-bench").to_string_lossy().into_owned();
    let folder = programs.to_string_lossy().into_owned();
    let words = |rounds: u32| {
        let mut words = vec!["--programs".into(), folder.clone()];
        words.extend(["--rounds".into(), rounds.to_string()]);
        words.extend(args.filter.iter().cloned());
        words
    };
    let here = run(Command::new(&bench).args(words(args.rounds)));
    let mut command = vec![bench, "--lab".into()];
    command.extend(words(args.rounds.min(LAB_ROUNDS)));
    let mut job = Job::new(&workspace, command)?;
    job.take_kernel()?;
    eprintln!("bench: in the lab");
    let code = lab::run(&job)?;
    here?;
    Ok(ExitCode::from(code))
}

/// Runs the fuzz targets, with overflow checks and panics that can be caught.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result {
    let workspace = Workspace::find()?;
    run(cargo()
        .current_dir(&workspace.root)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
        .args(["run", "--quiet", "-p", "isola-fuzz", "--"])
        .args(["--seconds", &args.seconds.to_string()])
        .args(["--seed", &args.seed.to_string()])
        .args(["--crashes"])
        .arg(workspace.target.join("fuzz"))
        .args(&args.filter))?;
    Ok(ExitCode::SUCCESS)
}

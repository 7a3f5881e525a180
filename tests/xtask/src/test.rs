//! All tests: unit tests of every crate, behaviour tests on the walls that this
//! machine has, and the same behaviour tests on the vm wall in the lab.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::Result;
use crate::build::{self, TestProgram};
use crate::process::run;
use crate::test_names::Names;
use crate::workspace::{Workspace, cargo};
use crate::{debian, kernel, setup, test_in_labs};

/// Walls that are tested on this machine itself.
const HERE_WALLS: &str = "container,emulated";

/// `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the run in the lab
    #[arg(long)]
    no_lab: bool,
    /// Leave out the unit tests
    #[arg(long)]
    no_unit: bool,
    /// Leave out the behaviour tests on this machine
    #[arg(long)]
    no_host: bool,
    /// Only tests whose names contain one of these
    filter: Vec<String>,
}

/// Runs everything, and fails at the end if anything failed.
pub(crate) fn main(args: &Args) -> Result {
    let workspace = Workspace::find()?;
    setup::main(&setup::Args::default())?;
    let programs = build::release(&workspace)?;
    kernel::ensure()?;
    let mut failed = Vec::new();
    let mut part = |name: &str, work: &mut dyn FnMut() -> Result<()>| {
        eprintln!("\n=== {name}");
        let started = Instant::now();
        let result = work();
        let seconds = started.elapsed().as_secs();
        match result {
            Ok(()) => eprintln!("=== {name}: ok, {seconds} s"),
            Err(error) => {
                eprintln!("=== {name}: FAILED, {seconds} s: {error}");
                failed.push(name.to_owned());
            }
        }
    };
    if !args.no_unit {
        part("unit tests", &mut || unit(&workspace, args));
    }
    let mut tests = Vec::new();
    let mut files = Files {
        programs,
        debian: PathBuf::new(),
    };
    if !args.no_host || !args.no_lab {
        tests = build::behaviour_tests(&workspace)?;
        files.debian = debian::ensure(&workspace, &files.programs)?;
    }
    if !args.no_host {
        for test in &tests {
            part(&format!("behaviour tests here: {}", test.name), &mut || {
                here(test, &files, args)
            });
        }
    }
    if !args.no_lab {
        for test in &tests {
            part(
                &format!("behaviour tests in the lab: {}", test.name),
                &mut || test_in_labs::run(&workspace, test, &files, &args.filter),
            );
        }
    }
    if failed.is_empty() {
        eprintln!("\nall tests passed");
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("failed: {}", failed.join("; ")).into())
}

/// Some unit tests start guests on QEMU's software CPU, which loses one now and
/// then. When any fails, all get one more try, and it is said.
fn unit(workspace: &Workspace, args: &Args) -> Result<()> {
    unit_once(workspace, args).or_else(|error| {
        eprintln!("=== unit tests FAILED ({error}); one more try of all of them");
        unit_once(workspace, args)
    })
}

fn unit_once(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut command = cargo();
    command
        .current_dir(&workspace.root)
        .args(["test", "--workspace", "--no-fail-fast"]);
    if !args.filter.is_empty() {
        command.arg("--").args(&args.filter);
    }
    run(&mut command)
}

/// What behaviour tests take.
pub(crate) struct Files {
    /// Folder of the built programs.
    programs: PathBuf,
    /// Data root with the image `debian`.
    pub(crate) debian: PathBuf,
}

impl Files {
    /// What the behaviour tests read; `tests/src/` says the same.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [
            ("ISOLA_TEST_BIN", text(&self.programs)),
            ("ISOLA_TEST_DEBIAN", text(&self.debian)),
        ]
    }
}

fn here(test: &TestProgram, files: &Files, args: &Args) -> Result<()> {
    let mut program = Command::new(&test.path);
    program
        .envs(files.variables())
        .env("ISOLA_TEST_WALLS", HERE_WALLS);
    let names = Names::of(&program, &args.filter)?;
    run(program.args(names.arguments(&names.wanted)))
}

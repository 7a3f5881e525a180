//! All tests: unit tests of every crate, behaviour tests on the walls that this
//! machine has, and the same behaviour tests on the vm wall in the lab.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::Result;
use crate::build::{self, TestProgram};
use crate::lab::{self, Job};
use crate::process::{capture, run};
use crate::workspace::{Workspace, cargo};
use crate::{debian, kernel, setup};

/// The longest that the behaviour tests may take in the lab.
const LAB_TIME: Duration = Duration::from_secs(40 * 60);

/// Walls that are tested on this machine itself.
const HERE_WALLS: &str = "container,emulated";

/// Labs at once.
const MOST_LABS: usize = 2;

/// Containers again in the lab, because there is cgroup v2 alone there.
const LAB_WALLS: &str = "vm,container";

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
                &mut || in_lab(&workspace, test, &files, args),
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
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(["--exclude", "isola-tests"]);
    if !args.filter.is_empty() {
        command.arg("--").args(&args.filter);
    }
    run(&mut command)
}

/// What behaviour tests take.
struct Files {
    /// Folder of the built programs.
    programs: PathBuf,
    /// Data root with the image `debian`.
    debian: PathBuf,
}

impl Files {
    /// What the behaviour tests read; `tests/src/` says the same.
    fn variables(&self) -> [(&'static str, String); 2] {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [
            ("ISOLA_TEST_BIN", text(&self.programs)),
            ("ISOLA_TEST_DEBIAN", text(&self.debian)),
        ]
    }
}

fn here(test: &TestProgram, files: &Files, args: &Args) -> Result<()> {
    let names = Names::of(test, files, HERE_WALLS, &args.filter)?;
    run(Command::new(&test.path)
        .envs(files.variables())
        .env("ISOLA_TEST_WALLS", HERE_WALLS)
        .args(names.share(0, 1)))
}

/// Runs a test program in as many labs as this machine has processors for, each
/// with its share of the tests: a lab has one processor only.
fn in_lab(workspace: &Workspace, test: &TestProgram, files: &Files, args: &Args) -> Result<()> {
    let names = Names::of(test, files, LAB_WALLS, &args.filter)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let labs = processors.min(MOST_LABS).min(names.wanted.len());
    eprintln!("{} tests in {labs} labs", names.wanted.len());
    let mut jobs = Vec::new();
    for lab in 0..labs {
        let mut command = vec![test.path.to_string_lossy().into_owned()];
        command.extend(names.share(lab, labs));
        let mut job = Job::new(workspace, command)?;
        for (name, value) in files.variables() {
            job.env(name, &value);
        }
        job.env("ISOLA_TEST_WALLS", LAB_WALLS);
        // On the scratch disk: the lab's memory is for guests.
        job.env("TMPDIR", "/var/tmp");
        job.share(&files.debian, false)?;
        job.take_kernel()?;
        job.timeout = LAB_TIME;
        jobs.push(job);
    }
    lab::prepare()?;
    // A lab that crashed says nothing about the tests in it; it gets one more try.
    let run = |job: &Job| {
        lab::run(job).or_else(|error| {
            eprintln!("=== {error}; one more try of its tests");
            lab::run(job)
        })
    };
    let results: Vec<std::result::Result<u8, String>> = std::thread::scope(|scope| {
        let running: Vec<_> = jobs
            .iter()
            .map(|job| scope.spawn(|| run(job).map_err(|e| e.to_string())))
            .collect();
        let panicked = |_| Err("the lab's thread panicked".into());
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(panicked))
            .collect()
    });
    for result in results {
        match result? {
            0 => {}
            code => return Err(format!("exit code {code}").into()),
        }
    }
    Ok(())
}

/// The names of a program's tests.
#[derive(Debug)]
struct Names {
    all: Vec<String>,
    /// Those that the filters let through.
    wanted: Vec<String>,
}

impl Names {
    fn of(test: &TestProgram, files: &Files, walls: &str, filter: &[String]) -> Result<Names> {
        let mut list = Command::new(&test.path);
        list.envs(files.variables())
            .env("ISOLA_TEST_WALLS", walls)
            .args(["--list", "--format", "terse"]);
        if walls == LAB_WALLS {
            list.env("ISOLA_LAB", "1");
        }
        let text = capture(&mut list)?;
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(Names::new(names.map(str::to_owned).collect(), filter))
    }

    fn new(all: Vec<String>, filter: &[String]) -> Names {
        let passes = |name: &&String| filter.is_empty() || filter.iter().any(|f| name.contains(f));
        let wanted = all.iter().filter(passes).cloned().collect();
        Names { all, wanted }
    }

    /// Arguments that let a test program run one share of the wanted tests only:
    /// it takes one filter, but any number of names to skip.
    fn share(&self, number: usize, of: usize) -> Vec<String> {
        let share: BTreeSet<_> = self.wanted.iter().skip(number).step_by(of).collect();
        if share.len() == self.all.len() {
            return Vec::new();
        }
        let mut words = vec!["--exact".to_owned()];
        for name in self.all.iter().filter(|name| !share.contains(name)) {
            words.extend(["--skip".to_owned(), name.clone()]);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_by(all: &[&str], arguments: &[String]) -> Vec<String> {
        let skipped = |name: &&&str| arguments.iter().any(|word| word == **name);
        all.iter()
            .filter(|n| !skipped(n))
            .map(|n| n.to_string())
            .collect()
    }

    #[test]
    fn shares_are_each_test_once() {
        let all = ["vm::a", "vm::b", "vm::ab", "container::a", "container::b"];
        let names = |filter: &[&str]| {
            let filter: Vec<String> = filter.iter().map(|f| f.to_string()).collect();
            Names::new(all.iter().map(|n| n.to_string()).collect(), &filter)
        };
        assert!(names(&[]).share(0, 1).is_empty());
        assert_eq!(
            run_by(&all, &names(&["vm"]).share(0, 1)),
            ["vm::a", "vm::b", "vm::ab"]
        );
        for filter in [&[][..], &["a"], &["vm", "b"]] {
            let names = names(filter);
            let mut run: Vec<_> = (0..2)
                .flat_map(|n| run_by(&all, &names.share(n, 2)))
                .collect();
            run.sort();
            let mut wanted = names.wanted.clone();
            wanted.sort();
            assert_eq!(run, wanted);
        }
    }
}

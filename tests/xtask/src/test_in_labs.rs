//! The behaviour tests on the vm wall: labs side by side, each of which takes a
//! portion of the tests, and the next one when it is done.
//!
//! QEMU's software processor loses a lab now and then. That says nothing about the
//! tests in it: those that had not ended get another lab, and it is said.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::Result;
use crate::build::TestProgram;
use crate::lab::{self, End, Job};
use crate::test::Files;
use crate::test_names::Names;
use crate::workspace::Workspace;

/// Containers again in the lab, because there is cgroup v2 alone there.
const WALLS: &str = "vm,container";

/// Labs at once, where there are as many processors: a lab has one.
const MOST_LABS: usize = 2;

/// Tests that one lab runs.
const PORTION: usize = 27;

/// The longest that a portion may take.
const PORTION_TIME: Duration = Duration::from_secs(30 * 60);

/// The longest that it may say nothing. One command of a test may take 4 minutes.
const SILENCE: Duration = Duration::from_secs(10 * 60);

/// Labs that a portion may lose.
const MOST_LOST: u32 = 2;

/// Runs the wanted tests of a program; fails when one of them fails, or is lost each
/// time.
pub(crate) fn run(
    workspace: &Workspace,
    test: &TestProgram,
    files: &Files,
    filter: &[String],
) -> Result<()> {
    let variables: Vec<_> = files
        .variables()
        .into_iter()
        .chain([("ISOLA_TEST_WALLS", WALLS.to_owned())])
        .collect();
    let mut list = Command::new(&test.path);
    list.envs(variables.iter().map(|(name, value)| (name, value)))
        .env("ISOLA_LAB", "1");
    let names = Names::of(&list, filter)?;
    let portions = names.portions(PORTION);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let labs = processors.min(MOST_LABS).min(portions.len());
    eprintln!("{} tests in {labs} labs at once", names.wanted.len());

    let job = |tests: &[String]| -> Result<Job> {
        let mut command = vec![test.path.to_string_lossy().into_owned()];
        command.extend(names.arguments(tests));
        let mut job = Job::new(workspace, command)?;
        for (name, value) in &variables {
            job.env(name, value);
        }
        // On the scratch disk: the lab's memory is for guests.
        job.env("TMPDIR", "/var/tmp");
        job.share(Path::new(&files.debian), false)?;
        job.take_kernel()?;
        job.timeout = PORTION_TIME;
        job.silence = Some(SILENCE);
        Ok(job)
    };
    let in_a_lab = |tests: &[String], see: &(dyn Fn(&str) + Sync)| {
        let job = job(tests).map_err(|error| error.to_string())?;
        lab::run_watched(&job, see).map_err(|error| error.to_string())
    };

    lab::prepare()?;
    let queue = Queue::new(portions);
    std::thread::scope(|scope| {
        for _ in 0..labs {
            scope.spawn(|| queue.work(&in_a_lab));
        }
    });
    let failures = queue.failures.into_inner().unwrap_or_default();
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.join("; ").into()),
    }
}

/// Tests that go to one lab together.
#[derive(Debug, PartialEq, Eq)]
struct Portion {
    tests: Vec<String>,
    /// Labs that were lost with it.
    lost: u32,
}

/// Portions that no lab has taken yet, and what failed.
struct Queue {
    waiting: Mutex<VecDeque<Portion>>,
    failures: Mutex<Vec<String>>,
}

/// Runs tests in a lab and shows each line of their output.
type Run<'a> =
    dyn Fn(&[String], &(dyn Fn(&str) + Sync)) -> std::result::Result<End, String> + Sync + 'a;

impl Queue {
    fn new(portions: Vec<Vec<String>>) -> Queue {
        let portion = |tests| Portion { tests, lost: 0 };
        Queue {
            waiting: Mutex::new(portions.into_iter().map(portion).collect()),
            failures: Mutex::default(),
        }
    }

    /// Runs portions until none is left.
    fn work(&self, run: &Run<'_>) {
        let next = || lock(&self.waiting).pop_front();
        while let Some(portion) = next() {
            let progress = Mutex::new(Progress::default());
            let see = |line: &str| lock(&progress).see(line);
            match run(&portion.tests, &see) {
                Ok(End::Code(0)) => {}
                Ok(End::Code(code)) => self.fail(format!("exit code {code}")),
                Ok(lost) => self.again(portion, &lock(&progress), &lost),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Puts what a lost lab has not done back to the front.
    fn again(&self, portion: Portion, progress: &Progress, lost: &End) {
        let within = progress.running.as_deref().unwrap_or("no test");
        if progress.failed {
            self.fail(format!(
                "a test failed in a lab that was lost later: {lost}"
            ));
        }
        if portion.lost == MOST_LOST {
            return self.fail(format!("{lost}, within {within}, not for the first time"));
        }
        let left = portion
            .tests
            .into_iter()
            .filter(|test| !progress.ended.contains(test));
        let left: Vec<_> = left.collect();
        eprintln!(
            "\n=== {lost}, within {within}; another lab for the {} tests that have not ended",
            left.len()
        );
        lock(&self.waiting).push_front(Portion {
            tests: left,
            lost: portion.lost + 1,
        });
    }

    fn fail(&self, what: String) {
        lock(&self.failures).push(what);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How far a test program has come, by its output.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    ended: BTreeSet<String>,
    running: Option<String>,
    failed: bool,
}

impl Progress {
    /// Reads a line: `test NAME ... OUTCOME`, with words of the test itself before the
    /// outcome where it wrote some.
    fn see(&mut self, line: &str) {
        let begun = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
            .filter(|(name, _)| name.contains("::"));
        let mut rest = line;
        if let Some((name, outcome)) = begun {
            self.running = Some(name.trim_end().to_owned());
            rest = outcome;
        }
        let outcome = rest.trim();
        let ended = ["ok", "ignored", "FAILED"].contains(&outcome);
        if ended && let Some(name) = self.running.take() {
            self.failed |= outcome == "FAILED";
            self.ended.insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Progress {
        let mut progress = Progress::default();
        lines.iter().for_each(|line| progress.see(line));
        progress
    }

    #[test]
    fn progress_is_read_from_output() {
        let progress = after(&[
            "running 4 tests\n",
            "test vm::life::a   ... ok\n",
            "test vm::life::b ... thread 'main' panicked at x.rs:1:\n",
            "all is not ok\n",
            "vm::life::b: FAILED; one more try\n",
            "ok\n",
            "test vm::life::c ... ignored\n",
            "test vm::life::d ... ",
        ]);
        let ended: Vec<_> = progress.ended.iter().map(String::as_str).collect();
        assert_eq!(ended, ["vm::life::a", "vm::life::b", "vm::life::c"]);
        assert_eq!(progress.running.as_deref(), Some("vm::life::d"));
        assert!(!progress.failed);
        assert!(after(&["test vm::life::a ... FAILED\n"]).failed);
    }

    /// Labs that are lost within the tests of those names.
    fn tried(lost_in: &[&str]) -> (Vec<Vec<String>>, Vec<String>) {
        let words = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let queue = Queue::new(vec![words(&["f::a", "f::b", "f::c"]), words(&["f::d"])]);
        let (runs, lost) = (Mutex::new(Vec::new()), Mutex::new(words(lost_in)));
        queue.work(&|tests, see| {
            lock(&runs).push(tests.to_vec());
            for test in tests {
                see(&format!("test {test} ... "));
                let mut lost = lock(&lost);
                if lost.first() == Some(test) {
                    lost.remove(0);
                    return Ok(End::Crashed);
                }
                see("ok\n");
            }
            Ok(End::Code(0))
        });
        (lock(&runs).clone(), queue.failures.into_inner().unwrap())
    }

    #[test]
    fn tests_of_a_lost_lab_get_another() {
        let (runs, failures) = tried(&["f::b"]);
        assert_eq!(
            runs,
            [&["f::a", "f::b", "f::c"][..], &["f::b", "f::c"], &["f::d"]]
        );
        assert_eq!(failures, [""; 0]);
    }

    #[test]
    fn a_test_that_loses_every_lab_fails() {
        let (runs, failures) = tried(&["f::b", "f::b", "f::b"]);
        assert_eq!(runs.len(), 4);
        assert_eq!(failures.len(), 1);
        assert!(failures[0].contains("within f::b"), "{failures:?}");
    }
}

//! Feeds mutated inputs to the functions that read what others wrote: frames of
//! a guest, archives, references, profiles.
//!
//! No compiler instrumentation: an input is kept as a seed when it makes its
//! target answer in a way not seen before, which leads past magic numbers and
//! checksums well enough for formats of this size. The same `--seed` gives the
//! same inputs, so a finding can be had again; it is also written to a file.

mod mutate;
mod targets;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;

use mutate::Mutator;
use targets::Target;

/// An input that takes longer is a finding.
const SLOW: Duration = Duration::from_secs(10);

/// Address space of this process in bytes; an input that takes more is one, too.
const MEMORY: u64 = 4 << 30;

/// Seeds that are kept of one target.
const KEPT: usize = 2_000;

#[derive(Parser)]
struct Args {
    /// Seconds for each target
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Where the random numbers start
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where inputs that fail are written
    #[arg(long, default_value = "target/fuzz")]
    crashes: PathBuf,
    /// Give this file to the target and do nothing else
    #[arg(long)]
    reproduce: Option<PathBuf>,
    /// Only targets whose names contain one of these
    filter: Vec<String>,
}

/// The input that is being tried, for the watcher.
type Current = Arc<Mutex<Option<(Instant, String, Vec<u8>)>>>;

fn main() -> ExitCode {
    let args = Args::parse();
    let limit = rustix::process::Rlimit {
        current: Some(MEMORY),
        maximum: Some(MEMORY),
    };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::As, limit) {
        eprintln!("fuzz: memory is not limited: {error}");
    }
    let chosen: Vec<_> = targets::all()
        .into_iter()
        .filter(|t| args.filter.is_empty() || args.filter.iter().any(|f| t.name.contains(f)))
        .collect();
    if let Some(path) = &args.reproduce {
        return reproduce(&chosen, path);
    }
    let current: Current = Arc::default();
    watch(Arc::clone(&current), args.crashes.clone());
    let mut failed = false;
    for mut target in chosen {
        failed |= !fuzz(&mut target, &args, &current);
    }
    ExitCode::from(u8::from(failed))
}

fn reproduce(chosen: &[Target], path: &Path) -> ExitCode {
    let ([target], Ok(input)) = (chosen, std::fs::read(path)) else {
        eprintln!("fuzz: one target and a readable file are needed");
        return ExitCode::from(2);
    };
    println!("{}: {}", target.name, (target.make)()(&input));
    ExitCode::SUCCESS
}

/// Tries a target for its time; false when it failed.
fn fuzz(target: &mut Target, args: &Args, current: &Current) -> bool {
    let mut run = (target.make)();
    let mut mutator = Mutator::new(args.seed, target.name);
    let mut corpus = target.seeds.clone();
    let mut seen = HashSet::new();
    let started = Instant::now();
    let mut runs = 0u64;
    while started.elapsed().as_secs() < args.seconds {
        // The seeds themselves come first.
        let input = match corpus.get(usize::try_from(runs).unwrap_or(usize::MAX)) {
            Some(seed) if runs < target.seeds.len() as u64 => seed.clone(),
            _ => {
                let mut input = mutator.mutate(&corpus);
                if runs.is_multiple_of(2) {
                    (target.fix)(&mut input);
                }
                input
            }
        };
        *lock(current) = Some((Instant::now(), target.name.into(), input.clone()));
        let answer = catch_unwind(AssertUnwindSafe(|| run(&input)));
        *lock(current) = None;
        runs += 1;
        let Ok(answer) = answer else {
            report(&args.crashes, target.name, &input, "panicked");
            return false;
        };
        if seen.insert(shape(&answer)) && corpus.len() < KEPT {
            corpus.push(input);
        }
    }
    println!(
        "fuzz: {:<12} {runs:>9} inputs, {} kinds of answers, no finding",
        target.name,
        seen.len()
    );
    true
}

/// An answer without what depends on the input's bytes alone.
fn shape(answer: &str) -> String {
    answer
        .chars()
        .filter(|c| c.is_ascii_alphabetic() || *c == ' ')
        .take(60)
        .collect()
}

/// Ends the process when an input takes too long.
fn watch(current: Current, crashes: PathBuf) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            if let Some((since, name, input)) = &*lock(&current)
                && since.elapsed() > SLOW
            {
                report(&crashes, name, input, "took too long");
                std::process::exit(1);
            }
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report(folder: &Path, name: &str, input: &[u8], what: &str) {
    let path = folder.join(format!("{name}-{:016x}", mutate::hash(input)));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, input));
    println!(
        "fuzz: {name}: FINDING, an input of {} bytes {what}; {}",
        input.len(),
        match written {
            Ok(()) => format!(
                "cargo run -p isola-fuzz -- --reproduce {} {name}",
                path.display()
            ),
            Err(e) => format!("cannot write {}: {e}", path.display()),
        }
    );
}

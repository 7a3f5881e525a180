//! Compares with peers. Two programs that do the same are run in turns, so that
//! a machine that slows down slows both down; what is told is the median of the
//! ratios of neighbours, with its quartiles. Nothing here is asserted in a test.

mod archives;
mod bridge;
mod build;
mod compose;
mod disk;
mod guest;
mod guest_files;
mod guest_net;
mod inside;
mod load;
mod machines;
mod memory;
mod monitor;
mod names;
mod pairs;
mod peers;
mod programs;
mod pull;
mod registry;
mod start;
mod table;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use isola_netlink::{Socket, configure};

use programs::Programs;
use table::Row;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
struct Args {
    /// The folder of `isola` and its siblings
    #[arg(long)]
    programs: PathBuf,
    /// Rounds of each pair
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Run what needs a KVM that can run Linux
    #[arg(long)]
    lab: bool,
    /// Only benches of these names, or whose names contain one of these
    filter: Vec<String>,
}

/// Whether a word picks a bench: a whole name picks that one alone.
fn picks(word: &str, name: &str, all: &[Bench]) -> bool {
    match all.iter().any(|(other, _)| *other == word) {
        true => name == word,
        false => name.contains(word),
    }
}

/// A bench: its name, and what gives its rows.
type Bench = (&'static str, fn(&Programs, u32) -> Result<Vec<Row>>);

const HERE: &[Bench] = &[
    ("start", start::run),
    ("load", load::run),
    ("pull", pull::run),
    ("disk", disk::run),
    ("build", build::run),
    ("monitor", monitor::run),
    ("memory", memory::run),
    ("start-bridge", bridge::start),
    ("throughput", bridge::throughput),
    ("names", names::run),
    ("compose", compose::stack),
    ("compose-file", compose::file),
    ("compose-growth", compose::growth),
];

const LAB: &[Bench] = &[
    ("guest", guest::run),
    ("guest-net", guest_net::run),
    ("guest-files", guest_files::run),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, role @ ..] = &words[..]
        && mark == inside::MARK
    {
        return match inside::run(role) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("isola-bench: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let args = Args::parse();
    if let Some(code) = own_surroundings() {
        return code;
    }
    let mut rows = Vec::new();
    let mut failed = false;
    let all = if args.lab { LAB } else { HERE };
    for (name, run) in all {
        if !args.filter.is_empty() && !args.filter.iter().any(|word| picks(word, name, all)) {
            continue;
        }
        eprintln!("bench: {name}");
        let result = Programs::open(&args.programs).and_then(|p| run(&p, args.rounds));
        match result {
            Ok(more) => rows.extend(more),
            Err(error) => {
                eprintln!("bench: {name}: FAILED: {error}");
                failed = true;
            }
        }
    }
    println!("{}", table::render(&rows));
    ExitCode::from(u8::from(failed))
}

/// Everything runs in a network namespace of the benches' own: bridges, rules and
/// forwarding are made there, and the machine's stay as they are. crun refuses cgroup
/// layouts that are both versions at once; where this host has one, a mount namespace
/// shows version 1 alone, so that all have the same to do.
fn own_surroundings() -> Option<ExitCode> {
    const MARK: &str = "ISOLA_BENCH_INSIDE";
    if std::env::var_os(MARK).is_some() {
        let loopback = Socket::route().and_then(|mut socket| configure(&mut socket, &[]));
        if let Err(error) = loopback {
            eprintln!("bench: loopback: {error}");
        }
        return None;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private", "sh", "-c"])
        .arg(
            "unified=/sys/fs/cgroup/unified; \
             ! [ -e $unified/cgroup.controllers ] || umount $unified; exec \"$0\" \"$@\"",
        )
        .args(std::env::args_os())
        .env(MARK, "1")
        .status();
    match status {
        Ok(status) => Some(ExitCode::from(
            status
                .code()
                .and_then(|c| u8::try_from(c).ok())
                .unwrap_or(1),
        )),
        Err(error) => {
            eprintln!("bench: cannot run unshare: {error}");
            None
        }
    }
}

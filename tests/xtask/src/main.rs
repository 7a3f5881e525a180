//! Developer tasks. `cargo xtask help` lists them.

mod build;
mod debian;
mod delegate;
mod demo;
mod kernel;
mod lab;
mod lint;
mod process;
mod setup;
mod test;
mod test_in_labs;
mod test_names;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a task gives: the exit code to end with, or what went wrong.
type Result<T = ExitCode> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer tasks of Isola")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The same image behind each wall of this host, in one table
    Demo,
    /// All tests: here, and on KVM in the lab
    Test(test::Args),
    /// Compare with peers, in pairs
    Bench(delegate::BenchArgs),
    /// Format, clippy, length of files
    Lint,
    /// Feed mutated inputs to what reads them
    Fuzz(delegate::FuzzArgs),
    /// Run a command in the lab: a virtual machine with a KVM of its own
    Lab(lab::Args),
    /// Install what is missing on this machine
    Setup(setup::Args),
    /// Fetch and build the guest kernels
    Kernel,
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result = match Cli::parse().task {
        Task::Demo => demo::main(),
        Task::Test(args) => test::main(&args),
        Task::Bench(args) => delegate::bench(&args),
        Task::Lint => lint::main(),
        Task::Fuzz(args) => delegate::fuzz(&args),
        Task::Lab(args) => lab::main(&args),
        Task::Setup(args) => setup::main(&args).map(done),
        Task::Kernel => kernel::ensure().map(|_| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(125)
    })
}

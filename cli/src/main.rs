//! `isola`: one OCI image, run as a container or as a KVM microVM.
//!
//! One verb, one file in `commands`: its flags and one function. What verbs
//! share is in the other modules: how instances are created from flags
//! (`create`), attached terminals (`session`), what is printed (`output`), how
//! it fails (`error`).

mod args;
mod build;
mod changed;
mod checks;
mod codes;
mod commands;
mod complete;
mod confirm;
mod context;
mod copy;
mod create;
mod demo_image;
mod error;
mod events;
mod filter;
mod instances;
mod lazy;
mod logfile;
mod output;
mod pairs;
mod progress;
mod pulling;
mod session;
mod streams;
mod template;
mod terminal;
mod transfers;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    complete::answer();
    let command_line = match args::read(std::env::args_os()) {
        Ok(command_line) => command_line,
        Err(exit) => return ExitCode::from(exit.0),
    };
    let context = context::Context::new(&command_line);
    let exit = commands::run(&command_line.verb, &context).unwrap_or_else(|failure| {
        failure.report(context.json_errors());
        error::Exit(failure.exit)
    });
    ExitCode::from(exit.0)
}

//! The same image with the same command behind each wall that this host has.

use std::process::{Command, ExitCode};

use crate::process::run;
use crate::workspace::Workspace;
use crate::{Result, build, kernel, setup};

/// Builds everything and runs `isola demo`, which prints the table.
pub(crate) fn main() -> Result {
    let workspace = Workspace::find()?;
    setup::main(&setup::Args::default())?;
    let programs = build::release(&workspace)?;
    kernel::ensure()?;
    run(Command::new(programs.join("isola")).arg("demo"))?;
    Ok(ExitCode::SUCCESS)
}

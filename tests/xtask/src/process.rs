//! Running programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Result;

/// Runs a program to its end, its output shown; fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("+ {shown}");
    let status = command
        .status()
        .map_err(|e| format!("cannot run {shown}: {e}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{shown}: {status}").into()),
    }
}

/// Runs a program to its end and gives its standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run {shown}: {e}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{shown}: {}: {}", output.status, words.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Where a program is, as execvp(3) would find it; administrators' programs
/// included.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Words of a command that are shown; one that leaves tests out has hundreds.
const SHOWN: usize = 24;

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut words: Vec<_> = words.map(|part| part.to_string_lossy()).collect();
    let more = words.len().saturating_sub(SHOWN);
    words.truncate(SHOWN);
    match more {
        0 => words.join(" "),
        more => format!("{} (and {more} more words)", words.join(" ")),
    }
}

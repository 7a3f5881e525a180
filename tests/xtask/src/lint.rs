//! What is checked without running anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Result;
use crate::process::run;
use crate::workspace::{Workspace, cargo};

/// A file with more lines of code is a sign that two things live in one place.
const LONGEST: usize = 400;

/// Format, clippy, and the length of files.
pub(crate) fn main() -> Result {
    let workspace = Workspace::find()?;
    let mut failed = Vec::new();
    let format = run(cargo()
        .current_dir(&workspace.root)
        .args(["fmt", "--all", "--check"]));
    if format.is_err() {
        failed.push("format".to_owned());
    }
    // The second: "all" are those that `cargo test` runs by itself.
    for targets in [&["--all-targets"][..], &["--test", "behaviour"]] {
        let clippy = run(cargo()
            .current_dir(&workspace.root)
            .args(["clippy", "--workspace"])
            .args(targets)
            .args(["--", "-D", "warnings"]));
        if clippy.is_err() {
            failed.push(format!("clippy {}", targets.join(" ")));
        }
    }
    for (path, lines) in long_files(&workspace)? {
        eprintln!("{}: {lines} lines, at most {LONGEST}", path.display());
        failed.push(format!("length of {}", path.display()));
    }
    match failed.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(failed.join(", ").into()),
    }
}

/// Source files outside of tests that are too long, with their lines of code.
fn long_files(workspace: &Workspace) -> Result<Vec<(PathBuf, usize)>> {
    let mut found = Vec::new();
    for folder in ["cli", "images", "runtime", "compose"] {
        collect(&workspace.root.join(folder), &mut found)?;
    }
    let mut long = Vec::new();
    for path in found {
        let lines = code_lines(&fs::read_to_string(&path)?);
        if lines > LONGEST {
            let short = path.strip_prefix(&workspace.root).unwrap_or(&path);
            long.push((short.to_path_buf(), lines));
        }
    }
    long.sort();
    Ok(long)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            if !["tests", "target", "examples"].contains(&name) {
                collect(&path, found)?;
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
    Ok(())
}

/// Lines in front of a file's unit tests.
fn code_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count()
}

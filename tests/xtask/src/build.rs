//! Builds the programs that tests, benches and the demo drive.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Result;
use crate::process::run;
use crate::workspace::{Workspace, cargo};

/// Packages with the programs `isola`, `isola-supervisor`, `isola-agent`,
/// `isola-vmm`, `isola-netd` and `isola-fsd`.
const PACKAGES: &[&str] = &[
    "isola",
    "isola-runtime",
    "isola-init",
    "isola-vmm",
    "isola-netd",
    "isola-fs",
];

/// The triple of `.cargo/config.toml`: its name is part of every path.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the programs for release and gives their folder.
pub(crate) fn release(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = cargo();
    command
        .current_dir(&workspace.root)
        .args(["build", "--release", "--bins"]);
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    run(&mut command)?;
    Ok(workspace.target.join(TARGET).join("release"))
}

/// A test executable.
pub(crate) struct TestProgram {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Builds the behaviour tests and tells where they are.
pub(crate) fn behaviour_tests(workspace: &Workspace) -> Result<Vec<TestProgram>> {
    let text = capture_shown(
        cargo()
            .current_dir(&workspace.root)
            // The whole workspace, so that what unit tests have compiled serves here, too.
            .args(["test", "--no-run", "--workspace", "--test", "behaviour"])
            .arg("--message-format=json-render-diagnostics"),
    )?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["profile"]["test"] == true)
        .filter_map(|message| {
            Some(TestProgram {
                name: message["target"]["name"].as_str()?.to_owned(),
                path: message["executable"].as_str()?.into(),
            })
        })
        .collect())
}

/// Standard output of a program; what the program says on standard error is shown.
fn capture_shown(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("cargo test --no-run: {}", output.status).into()),
    }
}

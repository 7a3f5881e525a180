//! What compiling a kernel takes.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::package::tool;

/// Programs, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("make", "make"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("strip", "binutils"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl-base"),
];

/// Headers for the programs that the kernel's build compiles for itself.
const HEADERS: &[(&str, &str)] = &[("stdlib.h", "libc6-dev"), ("gelf.h", "libelf-dev")];

/// Refuses, naming everything that is missing, before anything is downloaded.
pub(crate) fn check() -> Result<()> {
    let mut what = Vec::new();
    let mut packages = Vec::new();
    let has_gcc = has_program("gcc");
    let programs = PROGRAMS.iter().filter(|(name, _)| !has_program(name));
    let headers = HEADERS
        .iter()
        .filter(|(name, _)| !has_gcc || !has_header(name));
    for (name, package) in programs.chain(headers) {
        what.push(*name);
        packages.push(*package);
    }
    if what.is_empty() {
        return Ok(());
    }
    packages.dedup();
    Err(Error::MissingTools {
        what: what.join(", "),
        packages: packages.join(" "),
    })
}

/// The versions of compiler and linker, which decide about the result.
pub(crate) fn versions() -> Result<String> {
    let mut all = String::new();
    for program in ["gcc", "ld"] {
        let output = tool(program, Path::new("/"))
            .arg("--version")
            .output()
            .map_err(Error::io("run", Path::new(program)))?;
        let text = String::from_utf8_lossy(&output.stdout);
        all += text.lines().next().unwrap_or_default();
        all.push('\n');
    }
    Ok(all)
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Asks the preprocessor, which knows where headers are.
fn has_header(name: &str) -> bool {
    Command::new("gcc")
        .args(["-E", "-x", "c", "-include", name, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

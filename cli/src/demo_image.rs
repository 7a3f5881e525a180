//! The built-in image `isola/demo`, made when it is first named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use isola_images::{DemoProgram, Error, Pinned, Store};
use isola_runtime::engine::helper;

use crate::error::Result;

/// Finds an image; makes the built-in one if that is meant.
pub(crate) fn resolve(store: &Store, name: &str) -> Result<Pinned> {
    match store.resolve(name) {
        Err(Error::DemoNotMade) => {
            make(store)?;
            Ok(store.resolve(name)?)
        }
        other => Ok(other?),
    }
}

/// Its own program, which tells what it sees, and a shell with the usual small
/// programs where the host has a static busybox.
fn make(store: &Store) -> Result<()> {
    let demo = helper("isola-demo")?;
    let mut programs = vec![DemoProgram {
        path: "/bin/isola-demo",
        host: &demo,
        names: &[],
    }];
    let busybox = static_busybox();
    let names = busybox.as_deref().map(applets).unwrap_or_default();
    if let Some(busybox) = &busybox {
        programs.push(DemoProgram {
            path: "/bin/busybox",
            host: busybox,
            names: &names,
        });
    }
    store.ensure_demo(&programs)?;
    Ok(())
}

/// The programs that a busybox is, as it says; a shell in any case.
fn applets(busybox: &Path) -> Vec<String> {
    let said = Command::new(busybox).arg("--list").output();
    names(&said.map(|output| output.stdout).unwrap_or_default())
}

/// One name a line; what can't be one is left out.
fn names(said: &[u8]) -> Vec<String> {
    let fits = |name: &&str| {
        !name.is_empty()
            && *name != "busybox"
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"[_-".contains(&byte))
    };
    let text = String::from_utf8_lossy(said);
    let said = text.lines().map(str::trim).filter(fits);
    let names: BTreeSet<&str> = said.chain(["sh"]).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// A busybox that needs no library: one without a program interpreter.
fn static_busybox() -> Option<PathBuf> {
    let folders = ["/bin", "/usr/bin", "/usr/local/bin"];
    let found = folders
        .iter()
        .map(|folder| Path::new(folder).join("busybox"));
    found
        .into_iter()
        .find(|path| std::fs::read(path).is_ok_and(|bytes| is_static(&bytes)))
}

/// Looks for a PT_INTERP among the program headers of a 64-bit ELF file.
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, length: usize| {
        let bytes = elf.get(at..at.checked_add(length)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte)),
        )
    };
    let headers = || {
        let table = usize::try_from(number(32, 8)?).ok()?;
        let size = usize::try_from(number(54, 2)?).ok()?;
        let count = usize::try_from(number(56, 2)?).ok()?;
        (0..count)
            .map(|at| number(table.checked_add(at * size)?, 4))
            .collect::<Option<Vec<u64>>>()
    };
    elf.starts_with(b"\x7fELF\x02\x01")
        && headers().is_some_and(|kinds| !kinds.contains(&u64::from(PT_INTERP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applets_are_names_and_nothing_else() {
        assert_eq!(names(b""), ["sh"]);
        assert_eq!(
            names(b"[\nbusybox\nls\nsh\n../x\na b\n\nadd-shell\nls\n"),
            ["[", "add-shell", "ls", "sh"]
        );
    }

    #[test]
    fn static_programs_are_told_from_others() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(is_static(&own), "this workspace links statically");
        assert!(!is_static(b"#!/bin/sh"));
        assert!(!is_static(&own[..60]));
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(!is_static(&shell));
    }
}

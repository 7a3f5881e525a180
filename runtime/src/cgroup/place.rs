//! Where in the hierarchies a group is made: the groups above it, which are made when
//! they are absent and removed when nothing is in them any more.
//!
//! A group above that we make is told from one that was there by its sticky bit, which
//! mkdir(2) gives it in the same step and which nobody else's group has: so a killed
//! process leaves none that is not known as ours, and two data roots that share one
//! need no record in common. In a folder of cgroups the bit has no other meaning that
//! would matter, as the kernel alone makes files there.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::PARENT;
use super::hierarchy::{Hierarchy, Version};
use crate::error::{Error, Kind, Result};

/// Controllers of version 2 that are handed down to the instances' groups.
const DELEGATED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
/// Another instance that ends may remove the parent while we work in it.
const ATTEMPTS: usize = 100;
/// The sticky bit (inode(7)).
const STICKY: u32 = 0o1000;
/// Longest path of a parent, in bytes.
const LONGEST: usize = 1024;
/// Files of a group begin with one of these and a dot (cgroup-v2.rst, "Conventions"),
/// so no group may.
const FILES: &[&str] = &[
    "blkio", "cgroup", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "io", "irq",
    "memory", "misc", "net_cls", "net_prio", "pids", "rdma", "rt",
];
/// Endings of what systemd manages, and nobody beside it may.
const UNITS: &[&str] = &[".slice", ".scope", ".service"];

/// A parent as `--cgroup-parent` names it, as a path from the root of every hierarchy;
/// one that does not begin there is read as if it did. `None` is what nothing means:
/// the tool's own.
///
/// # Errors
/// Why there can't be such a parent, and what may help.
pub fn check_parent(text: &str) -> std::result::Result<Option<String>, (String, &'static str)> {
    let hint = "name a path from the root of the hierarchies, such as /tests/web";
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > LONGEST {
        return Err((format!("longer than {LONGEST} bytes"), hint));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    for part in &parts {
        if *part == "." || *part == ".." {
            return Err((format!("{part:?} would lead out of its hierarchy"), hint));
        }
        if UNITS.iter().any(|ending| part.ends_with(ending)) {
            let why = format!("{part} is systemd's to make, which is not spoken to");
            let hint = "name a path without units of systemd, such as /tests/web; limits set on its groups hold below them";
            return Err((why, hint));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@+".contains(c);
        if part.len() > 255 || !part.chars().all(plain) {
            return Err((
                format!("{part:?} is not made of letters, digits and -_.:@+"),
                hint,
            ));
        }
        let file = part
            .split_once('.')
            .is_some_and(|(front, _)| FILES.contains(&front));
        if file || matches!(*part, "tasks" | "notify_on_release" | "release_agent") {
            return Err((format!("{part} is the name of a file in groups"), hint));
        }
    }
    if parts.len() > 1 && parts[0] == PARENT {
        let why = format!("what is in /{PARENT} are groups of instances");
        return Err((why, hint));
    }
    Ok(Some(format!("/{}", parts.join("/"))))
}

/// The parent as a path below a hierarchy's root.
pub(super) fn relative(parent: Option<&str>) -> Result<PathBuf> {
    let Some(text) = parent else {
        return Ok(PathBuf::from(PARENT));
    };
    // From a record, which is a file that somebody may have changed.
    let path = check_parent(text).map_err(|(why, hint)| {
        Error::new(Kind::Invalid, format!("the cgroup parent {text:?}: {why}")).hint(hint)
    })?;
    let path = path.unwrap_or_else(|| PARENT.to_owned());
    Ok(PathBuf::from(path.trim_start_matches('/')))
}

/// Makes the folder of a group and of those above it, and readies them.
pub(super) fn make_folder(hierarchy: &Hierarchy, parent: &Path, path: &Path) -> io::Result<()> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for _ in 0..ATTEMPTS {
        result = try_folder(hierarchy, parent, path);
        if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            break;
        }
    }
    if result.is_err() {
        remove_parents(&hierarchy.mount, parent);
    }
    result
}

fn try_folder(hierarchy: &Hierarchy, parent: &Path, path: &Path) -> io::Result<()> {
    let mut above = hierarchy.mount.clone();
    for part in parent {
        let folder = above.join(part);
        match fs::DirBuilder::new().mode(0o755 | STICKY).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        hand_down(hierarchy, &above, &folder)?;
        above = folder;
    }
    if hierarchy.version == Version::V2 {
        delegate(&above);
    }
    fs::create_dir(path)?;
    hand_down(hierarchy, &above, path).inspect_err(|_| {
        let _ = fs::remove_dir(path);
    })
}

/// Readies `below`, a group in `above`.
fn hand_down(hierarchy: &Hierarchy, above: &Path, below: &Path) -> io::Result<()> {
    match hierarchy.version {
        Version::V2 => {
            delegate(above);
            Ok(())
        }
        Version::V1 if hierarchy.controllers.iter().any(|name| name == "cpuset") => {
            fill_cpuset(above, below)
        }
        Version::V1 => Ok(()),
    }
}

/// Removes the groups of `parent` that we made and that are empty, the deepest first.
pub(super) fn remove_parents(mount: &Path, parent: &Path) {
    for folder in parent
        .ancestors()
        .filter(|path| !path.as_os_str().is_empty())
    {
        let path = mount.join(folder);
        let is_ours = folder == Path::new(PARENT)
            || fs::metadata(&path).is_ok_and(|data| data.mode() & STICKY != 0);
        // Others may have their groups in it.
        if !is_ours || fs::remove_dir(&path).is_err() {
            break;
        }
    }
}

/// Hands the controllers of a group of version 2 down to the groups below. What
/// is not handed down shows when a limit needs it, and is told then.
fn delegate(group: &Path) {
    let file = group.join("cgroup.subtree_control");
    let Ok(done) = fs::read_to_string(&file) else {
        return;
    };
    let available = available(group);
    for controller in DELEGATED {
        if available.iter().any(|name| name == controller)
            && !done.split_whitespace().any(|name| name == controller)
        {
            let _ = fs::write(&file, format!("+{controller}"));
        }
    }
}

pub(super) fn available(group: &Path) -> Vec<String> {
    let text = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// A cpuset of version 1 starts empty and takes no process: take over the values
/// of the group above.
fn fill_cpuset(from: &Path, to: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(to.join(file))?.trim().is_empty() {
            fs::write(to.join(file), fs::read_to_string(from.join(file))?.trim())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_paths_below_the_root() {
        for (text, path) in [
            ("", None),
            ("/", Some("/")),
            ("a", Some("/a")),
            ("/a/b", Some("/a/b")),
            ("//a///b/", Some("/a/b")),
            ("/with-all_of.it:1@2+3", Some("/with-all_of.it:1@2+3")),
            ("/isola", Some("/isola")),
        ] {
            assert_eq!(check_parent(text).unwrap().as_deref(), path, "{text}");
        }
        for (text, why) in [
            ("..", "lead out"),
            ("/a/../../b", "lead out"),
            ("/a/./b", "lead out"),
            ("machine.slice", "systemd"),
            ("/system.slice/a.service/x", "systemd"),
            ("user.slice/b", "systemd"),
            ("/a b", "letters"),
            ("/a\n", "letters"),
            ("/\u{e4}", "letters"),
            ("/memory.max", "name of a file"),
            ("/a/cgroup.procs", "name of a file"),
            ("/a/tasks", "name of a file"),
            ("/isola/0123", "groups of instances"),
        ] {
            let (message, _) = check_parent(text).unwrap_err();
            assert!(message.contains(why), "{text}: {message}");
        }
        let (message, _) = check_parent(&"/a".repeat(600)).unwrap_err();
        assert!(message.contains("longer"), "{message}");
    }

    #[test]
    fn only_empty_groups_with_the_mark_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = |path: &str, mode: u32| {
            let path = root.path().join(path);
            fs::DirBuilder::new().mode(mode).create(path).unwrap();
        };
        folder("theirs", 0o755);
        folder("theirs/ours", 0o755 | STICKY);
        folder("theirs/ours/deep", 0o755 | STICKY);
        folder("theirs/ours/used", 0o755);
        remove_parents(root.path(), Path::new("theirs/ours/deep"));
        assert!(!root.path().join("theirs/ours/deep").exists());
        assert!(root.path().join("theirs/ours").exists(), "it is in use");
        fs::remove_dir(root.path().join("theirs/ours/used")).unwrap();
        remove_parents(root.path(), Path::new("theirs/ours"));
        assert!(!root.path().join("theirs/ours").exists());
        assert!(root.path().join("theirs").exists(), "it was there before");
    }
}

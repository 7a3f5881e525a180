//! What a test may leave on the host: nothing. Everything that the tool takes
//! names the data root or an instance's id, so tests can run side by side.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The books of one data root.
pub struct Ledger {
    root: PathBuf,
    seen: RefCell<BTreeSet<String>>,
}

impl Ledger {
    /// Opens the books.
    pub fn new(root: &Path) -> Ledger {
        Ledger {
            root: root.to_owned(),
            seen: RefCell::default(),
        }
    }

    /// Ids of the instances that are there now.
    pub fn instances(&self) -> Vec<String> {
        let ids = names(&self.root.join("instances"));
        let ids: Vec<_> = ids
            .into_iter()
            .filter(|name| !name.starts_with('.'))
            .collect();
        self.seen.borrow_mut().extend(ids.iter().cloned());
        ids
    }

    /// Expects that nothing is left. What ends by itself gets a moment.
    ///
    /// # Panics
    /// Something is left.
    pub fn check(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(
                Instant::now() < until,
                "left behind:\n  {}",
                left.join("\n  ")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left(&self) -> Vec<String> {
        self.instances();
        let root = self.root.display().to_string();
        let mut left = Vec::new();
        for folder in ["instances", "names"] {
            left.extend(
                names(&self.root.join(folder))
                    .into_iter()
                    .map(|name| format!("file {folder}/{name}")),
            );
        }
        left.extend(
            lines_with("/proc/self/mountinfo", &root)
                .into_iter()
                .map(|line| format!("mount {line}")),
        );
        left.extend(
            lines_with("/proc/net/unix", &root)
                .into_iter()
                .map(|line| format!("socket {line}")),
        );
        for device in names(Path::new("/sys/block"))
            .into_iter()
            .filter(|name| name.starts_with("loop"))
        {
            let path = format!("/sys/block/{device}/loop/backing_file");
            left.extend(
                lines_with(&path, &root)
                    .into_iter()
                    .map(|line| format!("loop device {device} {line}")),
            );
        }
        left.extend(self.processes(&root));
        left.extend(self.cgroups());
        left
    }

    fn processes(&self, root: &str) -> Vec<String> {
        let own = std::process::id().to_string();
        let pids = names(Path::new("/proc"))
            .into_iter()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let mut left = Vec::new();
        for pid in pids.filter(|pid| *pid != own) {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let member = self
                .seen
                .borrow()
                .iter()
                .any(|id| cgroup.contains(id.as_str()));
            if member || line.contains(root) {
                left.push(format!("process {pid} {line}"));
            }
        }
        left
    }

    fn cgroups(&self) -> Vec<String> {
        let mut left = Vec::new();
        let top = Path::new("/sys/fs/cgroup");
        let hierarchies = std::iter::once(top.to_owned())
            .chain(names(top).into_iter().map(|name| top.join(name)));
        for hierarchy in hierarchies {
            for id in self.seen.borrow().iter() {
                let path = hierarchy.join("isola").join(id);
                if path.is_dir() {
                    left.push(format!("cgroup {}", path.display()));
                }
            }
        }
        left
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn lines_with(path: &str, words: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter(|line| line.contains(words))
        .map(str::to_owned)
        .collect()
}

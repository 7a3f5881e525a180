//! What a test may leave on the host: nothing. Everything that the tool takes
//! names the data root or an instance's id, so tests can run side by side.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::host::Host;

/// The books of one data root.
pub struct Ledger {
    root: PathBuf,
    host: Option<Arc<Host>>,
    seen: RefCell<BTreeSet<String>>,
}

impl Ledger {
    /// Opens the books.
    pub fn new(root: &Path) -> Ledger {
        Ledger {
            root: root.to_owned(),
            host: None,
            seen: RefCell::default(),
        }
    }

    /// Also of a host.
    #[must_use]
    pub fn on(self, host: Arc<Host>) -> Ledger {
        Ledger {
            host: Some(host),
            ..self
        }
    }

    /// Ids of the networks that are there now.
    pub fn networks(&self) -> Vec<String> {
        let mut ids = names(&self.root.join("networks"));
        ids.retain(|name| name.len() == 64);
        ids
    }

    /// Names of the volumes that are there now.
    pub fn volumes(&self) -> Vec<String> {
        let mut names = names(&self.root.join("volumes"));
        names.retain(|name| !name.starts_with('.'));
        names
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
        self.expect_nothing(|| self.left());
    }

    /// Expects the same, and that no network and no volume is left either.
    ///
    /// # Panics
    /// Something is left.
    pub fn check_all(&self) {
        self.expect_nothing(|| {
            let mut left = self.left();
            left.extend(self.recorded());
            left
        });
    }

    fn expect_nothing(&self, left: impl Fn() -> Vec<String>) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let left = left();
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

    /// What networks and volumes are on disk and in /run.
    fn recorded(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (folder, lock) in [("networks", "lock"), ("volumes", ".lock")] {
            let names = names(&self.root.join(folder)).into_iter();
            let names = names.filter(|name| name != lock);
            left.extend(names.map(|name| format!("file {folder}/{name}")));
        }
        if let Some(host) = &self.host {
            let folder = host.reservations();
            if folder.exists() {
                left.push(format!("{} {:?}", folder.display(), names(&folder)));
            }
        }
        left
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
        left.extend(self.host.iter().flat_map(|host| host.left()));
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
            // A mount namespace in which the root is used, too, such as that of a server
            // of shared folders, whose own name says nothing.
            let mounts = lines_with(&format!("/proc/{pid}/mountinfo"), root);
            if member || line.contains(root) || !mounts.is_empty() {
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

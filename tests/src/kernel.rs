//! What the kernel of the host holds of an instance, and a block device for a test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder in `/sys/fs/cgroup` of the group of a process in which the controller of
/// version 1 is, or that of version 2 where there is none of version 1.
fn folder(pid: &str, controller: &str) -> PathBuf {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
    let mut unified = None;
    for line in groups.lines() {
        let mut words = line.splitn(3, ':');
        let (Some(_), Some(names), Some(path)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if names.split(',').any(|name| name == controller) {
            return PathBuf::from(format!("/sys/fs/cgroup/{controller}{path}"));
        }
        if names.is_empty() {
            unified = Some(PathBuf::from(format!("/sys/fs/cgroup{path}")));
        }
    }
    unified.unwrap_or_else(|| panic!("no {controller} of {pid}: {groups}"))
}

/// A value of the cgroup of a process, in whichever layout the host has: `v1` with its
/// controller in front, as `memory/memory.limit_in_bytes`.
///
/// # Panics
/// The process or the file is not there.
pub fn cgroup_value(pid: &str, v1: &str, v2: &str) -> String {
    let (controller, file) = v1.split_once('/').expect("a controller");
    let folder = folder(pid, controller);
    let path = match folder.join(file) {
        path if path.exists() => path,
        _ => folder.join(v2),
    };
    let value = std::fs::read_to_string(&path);
    let value = value.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    value.trim().to_owned()
}

/// The folder of the group that holds the memory of a process.
pub fn cgroup_of(pid: &str) -> PathBuf {
    folder(pid, "memory")
}

/// A loop device over a file; it goes with the value.
#[derive(Debug)]
pub struct BlockDevice {
    path: String,
}

impl BlockDevice {
    /// Makes one of so many bytes in a folder. None, and it is said, where that is not
    /// possible: there is no losetup.
    pub fn new(folder: &Path, bytes: u64) -> Option<BlockDevice> {
        let file = folder.join("disk");
        let made = std::fs::File::create(&file).and_then(|file| file.set_len(bytes));
        made.expect("a file for a disk");
        let losetup = Command::new("losetup")
            .args(["-f", "--show"])
            .arg(&file)
            .output();
        match losetup {
            Ok(output) if output.status.success() => Some(BlockDevice {
                path: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            }),
            other => {
                eprintln!("SKIPPED: needs losetup and a free loop device: {other:?}");
                None
            }
        }
    }

    /// Its node.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `MAJOR:MINOR`.
    ///
    /// # Panics
    /// It is gone.
    pub fn numbers(&self) -> String {
        let text = std::fs::read_to_string(self.queue("../dev")).expect("numbers of a device");
        text.trim().to_owned()
    }

    /// Lets groups share it by weight, if the kernel can: by its scheduler, or in version
    /// 2 of cgroups by what requests cost.
    pub fn shares_by_weight(&self) -> Option<ByWeight> {
        let numbers = self.numbers();
        if std::fs::write(self.queue("scheduler"), "bfq").is_ok() {
            return Some(ByWeight::Scheduler);
        }
        let cost = std::fs::write(COST, format!("{numbers} enable=1"));
        cost.is_ok().then_some(ByWeight::Cost)
    }

    fn queue(&self, file: &str) -> PathBuf {
        let name = self.path.trim_start_matches("/dev/");
        Path::new("/sys/block").join(name).join("queue").join(file)
    }
}

/// By what groups share a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByWeight {
    /// The scheduler bfq, with weights as Docker has them.
    Scheduler,
    /// `io.cost.qos`, with weights up to 10000.
    Cost,
}

const COST: &str = "/sys/fs/cgroup/io.cost.qos";

impl Drop for BlockDevice {
    fn drop(&mut self) {
        if Path::new(COST).exists() {
            let _ = std::fs::write(COST, format!("{} enable=0", self.numbers()));
        }
        let _ = std::fs::write(self.queue("scheduler"), "none");
        let _ = Command::new("losetup").args(["-d", &self.path]).status();
    }
}

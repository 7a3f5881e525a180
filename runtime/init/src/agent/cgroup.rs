//! The control group of the sandbox in the guest: the limits that the guest's
//! own kernel has to keep, and the figures of what is used. cgroup v2
//! (Documentation/admin-guide/cgroup-v2.rst); a guest has no other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use isola_proto::Failure;
use isola_proto::message::Usage;
use rustix::process::Pid;

use super::setup;

/// Name of the group.
const NAME: &str = "sandbox";
/// Period over which a share of CPU time is counted, in microseconds: the
/// kernel's default.
const PERIOD: u64 = 100_000;
/// Bytes of a sector in the kernel's block statistics.
const SECTOR: u64 = 512;

/// The control group of the sandbox.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes the group below `root`, the top of the hierarchy.
    ///
    /// # Errors
    /// A limit was asked for that this kernel can't keep.
    pub(super) fn make(
        root: &Path,
        pids: Option<u64>,
        cpu_percent: Option<u64>,
    ) -> Result<Group, Failure> {
        // Without its controller a limit's file is not there, which is told
        // below; figures alone are worth no failure.
        for controller in ["cpu", "memory", "pids", "io"] {
            let _ = write(
                &root.join("cgroup.subtree_control"),
                &format!("+{controller}"),
            );
        }
        let path = root.join(NAME);
        fs::create_dir_all(&path)
            .map_err(|error| setup(format!("can't make the sandbox's cgroup: {error}")))?;
        let limits = [
            ("pids.max", pids.map(|count| count.to_string())),
            (
                "cpu.max",
                cpu_percent
                    .map(|percent| format!("{} {PERIOD}", percent.saturating_mul(PERIOD / 100))),
            ),
        ];
        for (file, value) in limits {
            if let Some(value) = value {
                write(&path.join(file), &value).map_err(|error| {
                    setup(format!(
                        "can't limit the sandbox ({file} to {value}): {error}"
                    ))
                })?;
            }
        }
        Ok(Group { path })
    }

    /// Moves a process in.
    pub(super) fn add(&self, pid: Pid) -> io::Result<()> {
        write(&self.path.join("cgroup.procs"), &pid.to_string())
    }

    /// The processes in the group and in those that it made below.
    pub(super) fn pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()));
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            folders.extend(below.map(|entry| entry.path()));
        }
        pids
    }

    /// Whether the kernel has killed something for want of memory: the guest's RAM
    /// is the sandbox's limit. A kernel without the memory controller counts for
    /// all of its processes together, and no other is ever killed.
    pub(super) fn oom_killed(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let all = || fs::read_to_string("/proc/vmstat").unwrap_or_default();
        keyed(&events, "oom_kill") > 0 || keyed(&all(), "oom_kill") > 0
    }

    /// What the guest uses; what the kernel has no figure for stays 0.
    pub(super) fn usage(&self) -> Usage {
        let read = |name: &str| fs::read_to_string(self.path.join(name)).unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = keyed(&meminfo, "MemTotal:") * 1024;
        let memory = match read("memory.current").trim().parse::<u64>() {
            Ok(current) => current.saturating_sub(keyed(&read("memory.stat"), "inactive_file")),
            Err(_) => total.saturating_sub(keyed(&meminfo, "MemAvailable:") * 1024),
        };
        let (block_read, block_write) = block_bytes();
        let network = fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let (net_rx, net_tx) = network_bytes(&network);
        Usage {
            cpu_ns: keyed(&read("cpu.stat"), "usage_usec").saturating_mul(1000),
            memory,
            memory_limit: total,
            pids: read("pids.current").trim().parse().unwrap_or(0),
            block_read,
            block_write,
            net_rx,
            net_tx,
        }
    }
}

/// The files exist already or the kernel does not know them: never made.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, value.as_bytes())
}

/// The number behind `key` in a file of `key number` lines, else 0.
fn keyed(text: &str, key: &str) -> u64 {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let value = lines.find_map(|mut words| (words.next()? == key).then(|| words.next())?);
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Bytes read from and written to all disks.
fn block_bytes() -> (u64, u64) {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let disks = disks.filter(|disk| disk.file_name().as_encoded_bytes().starts_with(b"vd"));
    disks.fold((0, 0), |(read, written), disk| {
        let stat = fs::read_to_string(disk.path().join("stat")).unwrap_or_default();
        let (more_read, more_written) = disk_bytes(&stat);
        (read + more_read, written + more_written)
    })
}

/// Documentation/block/stat.rst: the third and the seventh are sectors.
fn disk_bytes(stat: &str) -> (u64, u64) {
    let sectors = |index| {
        let word = stat.split_ascii_whitespace().nth(index);
        word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    (
        sectors(2).saturating_mul(SECTOR),
        sectors(6).saturating_mul(SECTOR),
    )
}

/// Bytes received and sent over all interfaces but loopback (proc_pid_net(5)).
fn network_bytes(table: &str) -> (u64, u64) {
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    let rows = rows.filter(|(name, _)| name.trim() != "lo");
    rows.fold((0, 0), |(rx, tx), (_, figures)| {
        let figure = |index| {
            let word = figures.split_ascii_whitespace().nth(index);
            word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
        };
        (rx + figure(0), tx + figure(8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(NAME)).unwrap();
        for file in files {
            fs::write(root.path().join(file), "").unwrap();
        }
        root
    }

    #[test]
    fn limits_are_written_in_the_kernels_words() {
        let root = fake(&[
            "sandbox/pids.max",
            "sandbox/cpu.max",
            "sandbox/cgroup.procs",
        ]);
        let group = Group::make(root.path(), Some(77), Some(150)).unwrap();
        let read = |name| fs::read_to_string(root.path().join(name)).unwrap();
        assert_eq!(read("sandbox/pids.max"), "77");
        assert_eq!(read("sandbox/cpu.max"), "150000 100000");
        fs::create_dir(root.path().join("sandbox/below")).unwrap();
        fs::write(root.path().join("sandbox/cgroup.procs"), "4\n9\n").unwrap();
        fs::write(root.path().join("sandbox/below/cgroup.procs"), "12\n").unwrap();
        assert_eq!(group.pids(), [4, 9, 12]);
    }

    #[test]
    fn a_limit_that_cannot_be_kept_is_a_failure() {
        let root = fake(&["sandbox/cpu.max"]);
        assert!(Group::make(root.path(), None, None).is_ok());
        let failure = Group::make(root.path(), Some(5), None).unwrap_err();
        assert!(failure.message.contains("pids.max to 5"), "{failure}");
    }

    #[test]
    fn figures_are_found() {
        assert_eq!(keyed("usage_usec 12\nuser_usec 3\n", "user_usec"), 3);
        assert_eq!(keyed("usage_usec\n", "usage_usec"), 0);
        assert_eq!(disk_bytes("  10 0 8 1 20 0 16 2 0 3 4"), (4096, 8192));
        assert_eq!(disk_bytes(""), (0, 0));
        let table = "Inter-| Receive\n face |bytes\n    lo: 5 1 0 0 0 0 0 0 5 1\n  eth0: 100 2 0 0 0 0 0 0 30 1 0\n";
        assert_eq!(network_bytes(table), (100, 30));
    }
}

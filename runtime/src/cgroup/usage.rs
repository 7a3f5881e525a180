//! What an instance uses, and whether memory ran out.

use std::fs;

use isola_proto::message::Usage;

use super::hierarchy::Version;
use super::{Cgroup, Member};
use crate::error::{Error, Kind, Result};

impl Cgroup {
    /// Totals of all processes, those that have ended included. What no
    /// controller counts here is 0. The network is not a cgroup's business.
    ///
    /// # Errors
    /// This host has no cgroups that count anything.
    pub fn usage(&self) -> Result<Usage> {
        if self.is_absent() {
            return Err(Error::new(
                Kind::Unsupported,
                "this host has no cgroup that counts what is used",
            ));
        }
        let (block_read, block_write) = self.block();
        Ok(Usage {
            cpu_ns: self.cpu_ns(),
            memory: self.memory(),
            memory_limit: self.memory_limit(),
            pids: self.value("pids", "pids.current").unwrap_or_else(|| {
                self.processes()
                    .map_or(0, |processes| processes.len() as u64)
            }),
            block_read,
            block_write,
            ..Usage::default()
        })
    }

    /// How many processes the kernel has killed here for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let Some(member) = self.member("memory") else {
            return 0;
        };
        match member.version {
            Version::V1 => keyed(member, "memory.oom_control", "oom_kill"),
            Version::V2 => keyed(member, "memory.events", "oom_kill"),
        }
        .unwrap_or(0)
    }

    /// The kernel has killed something here for want of memory.
    pub fn oom_killed(&self) -> bool {
        self.oom_kills() > 0
    }

    fn cpu_ns(&self) -> u64 {
        let v1 = self.value("cpuacct", "cpuacct.usage");
        // The unified hierarchy counts CPU time without any controller.
        v1.or_else(|| {
            keyed(self.unified()?, "cpu.stat", "usage_usec").map(|us| us.saturating_mul(1000))
        })
        .unwrap_or(0)
    }

    fn memory(&self) -> u64 {
        let Some(member) = self.member("memory") else {
            return 0;
        };
        let (total, cache) = match member.version {
            Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => ("memory.current", "inactive_file"),
        };
        let used = number(member, total).unwrap_or(0);
        used.saturating_sub(keyed(member, "memory.stat", cache).unwrap_or(0))
    }

    /// The limit; that of the host where there is none.
    fn memory_limit(&self) -> u64 {
        let limit = self.member("memory").and_then(|member| {
            number(
                member,
                if member.version == Version::V1 {
                    "memory.limit_in_bytes"
                } else {
                    "memory.max"
                },
            )
        });
        limit.unwrap_or(u64::MAX).min(host_memory())
    }

    fn block(&self) -> (u64, u64) {
        let read = |member: &Member, files: &[&str]| {
            files.iter().find_map(|file| {
                fs::read_to_string(member.path.join(file))
                    .ok()
                    .filter(|text| !text.is_empty())
            })
        };
        if let Some(member) = self.member("blkio") {
            let files = [
                "blkio.throttle.io_service_bytes_recursive",
                "blkio.throttle.io_service_bytes",
            ];
            read(member, &files).map_or((0, 0), |text| block_v1(&text))
        } else if let Some(member) = self.member("io") {
            read(member, &["io.stat"]).map_or((0, 0), |text| block_v2(&text))
        } else {
            (0, 0)
        }
    }

    fn member(&self, controller: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.has(controller))
    }

    fn value(&self, controller: &str, file: &str) -> Option<u64> {
        number(self.member(controller)?, file)
    }
}

/// Bytes of memory that the host has.
fn host_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

fn number(member: &Member, file: &str) -> Option<u64> {
    fs::read_to_string(member.path.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn keyed(member: &Member, file: &str, key: &str) -> Option<u64> {
    value_of(&fs::read_to_string(member.path.join(file)).ok()?, key)
}

/// The value in a text of lines `KEY VALUE`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// Bytes read and written, from lines `MAJOR:MINOR Read BYTES`.
fn block_v1(text: &str) -> (u64, u64) {
    let sum = |word: &str| {
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace().skip(1);
                words.next().filter(|found| *found == word)?;
                words.next()?.parse::<u64>().ok()
            })
            .fold(0, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

/// Bytes read and written, from lines `MAJOR:MINOR rbytes=N wbytes=N ...`.
fn block_v2(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        text.split_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
            .fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_counters() {
        let v1 = "8:0 Read 100\n8:0 Write 20\n8:0 Sync 9\n8:16 Read 1\n8:0 Total 120\nTotal 121\n";
        assert_eq!(block_v1(v1), (101, 20));
        assert_eq!(
            block_v2("8:0 rbytes=5 wbytes=6 rios=1\n259:0 rbytes=10 wbytes=0\n"),
            (15, 6)
        );
        assert_eq!(block_v2(""), (0, 0));
    }

    #[test]
    fn keys_are_whole_words() {
        let text = "oom_kill_disable 7\nunder_oom 0\noom_kill 3\n";
        assert_eq!(value_of(text, "oom_kill"), Some(3));
        assert_eq!(value_of(text, "kill"), None);
    }
}

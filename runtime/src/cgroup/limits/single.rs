//! One limit: its files in either version of cgroups, and what they hold then.

use std::fs;

use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources};

use super::Writer;
use super::block::{self, Setting};
use crate::cgroup::Member;
use crate::cgroup::hierarchy::Version;
use crate::workload::BlockDevice;

/// Granularity of memory limits in the kernel.
const PAGE: u64 = 4096;
/// No quota of CPU time, as version 1 and the OCI runtime specification write it.
const NO_QUOTA: i64 = -1;

/// One limit that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit<'a> {
    Memory {
        limit: u64,
        swap: Option<u64>,
    },
    Reservation(u64),
    Swappiness(u8),
    NoOomKill,
    /// Microseconds of CPU time per period, and its microseconds.
    Time {
        flag: &'static str,
        quota: Option<u64>,
        period: u64,
    },
    Shares(u64),
    Cpuset(&'a str),
    Nodes(&'a str),
    Weight(u16),
    Device(&'a BlockDevice),
    Pids(u64),
}

impl Limit<'_> {
    /// The option that asked for it.
    pub(super) fn flag(&self) -> &'static str {
        match self {
            Limit::Memory { swap: None, .. } => "--memory",
            Limit::Memory { swap: Some(_), .. } => "--memory and --memory-swap",
            Limit::Reservation(_) => "--memory-reservation",
            Limit::Swappiness(_) => "--memory-swappiness",
            Limit::NoOomKill => "--oom-kill-disable",
            Limit::Time { flag, .. } => flag,
            Limit::Shares(_) => "--cpu-shares",
            Limit::Cpuset(_) => "--cpuset-cpus",
            Limit::Nodes(_) => "--cpuset-mems",
            Limit::Weight(_) => "--blkio-weight",
            Limit::Device(device) if device.weight.is_some() => "--blkio-weight-device",
            Limit::Device(_) => "--device-read-bps and its like",
            Limit::Pids(_) => "--pids-limit",
        }
    }

    /// The controller that holds it, as version 2 calls it.
    pub(super) fn controller(&self) -> &'static str {
        match self {
            Limit::Memory { .. }
            | Limit::Reservation(_)
            | Limit::Swappiness(_)
            | Limit::NoOomKill => "memory",
            Limit::Time { .. } | Limit::Shares(_) => "cpu",
            Limit::Cpuset(_) | Limit::Nodes(_) => "cpuset",
            Limit::Weight(_) | Limit::Device(_) => "io",
            Limit::Pids(_) => "pids",
        }
    }

    /// Whether a group has that controller.
    pub(super) fn is_held_by(&self, member: &Member) -> bool {
        let name = self.controller();
        member.has(name) || name == "io" && member.has("blkio")
    }

    /// The limit in the words of the OCI runtime specification.
    fn resources(&self) -> std::result::Result<LinuxResources, String> {
        let signed = |value: u64| i64::try_from(value).map_err(|_| format!("{value} is too large"));
        let whole = |value: u64| {
            if value == u64::MAX {
                Ok(-1)
            } else {
                signed(value)
            }
        };
        let mut resources = LinuxResources::default();
        let text = |error: oci_spec::OciSpecError| error.to_string();
        match *self {
            Limit::Memory { limit, swap } => {
                let mut memory = LinuxMemoryBuilder::default().limit(signed(limit)?);
                if let Some(swap) = swap {
                    memory = memory.swap(whole(swap)?);
                }
                resources.set_memory(Some(memory.build().map_err(text)?));
            }
            Limit::Reservation(bytes) => {
                let memory = LinuxMemoryBuilder::default().reservation(signed(bytes)?);
                resources.set_memory(Some(memory.build().map_err(text)?));
            }
            Limit::Time { quota, period, .. } => {
                let quota = quota.map_or(Ok(NO_QUOTA), signed)?;
                let cpu = LinuxCpuBuilder::default().quota(quota).period(period);
                resources.set_cpu(Some(cpu.build().map_err(text)?));
            }
            Limit::Shares(shares) => {
                resources.set_cpu(Some(
                    LinuxCpuBuilder::default()
                        .shares(shares)
                        .build()
                        .map_err(text)?,
                ));
            }
            Limit::Cpuset(cpus) => {
                resources.set_cpu(Some(
                    LinuxCpuBuilder::default()
                        .cpus(cpus)
                        .build()
                        .map_err(text)?,
                ));
            }
            Limit::Nodes(nodes) => {
                let cpu = LinuxCpuBuilder::default().mems(nodes);
                resources.set_cpu(Some(cpu.build().map_err(text)?));
            }
            // Those that are written here.
            Limit::Swappiness(_) | Limit::NoOomKill | Limit::Weight(_) | Limit::Device(_) => {}
            Limit::Pids(pids) => {
                resources.set_pids(Some(
                    LinuxPidsBuilder::default()
                        .limit(signed(pids)?)
                        .build()
                        .map_err(text)?,
                ));
            }
        }
        Ok(resources)
    }

    /// What is written here for it, where libcgroups is of no use.
    fn own(&self, version: Version) -> std::result::Result<Vec<Setting>, String> {
        let memory = |file, text: String, shown| match version {
            Version::V1 => Ok(vec![Setting::new(file, text, shown)]),
            Version::V2 => Err("version 2 of cgroups has no such setting".to_owned()),
        };
        match *self {
            Limit::Swappiness(value) => {
                memory("memory.swappiness", value.to_string(), value.to_string())
            }
            Limit::NoOomKill => {
                let shown = "oom_kill_disable 1".to_owned();
                memory("memory.oom_control", "1".to_owned(), shown)
            }
            Limit::Weight(weight) => Ok(vec![block::weight(version, weight)]),
            Limit::Device(device) => Ok(block::device(version, device)),
            _ => Ok(Vec::new()),
        }
    }

    /// Writes it, and makes sure that it holds.
    pub(super) fn write(
        &self,
        writer: &mut Writer<'_>,
        member: &Member,
    ) -> std::result::Result<(), String> {
        let own = self.own(member.version)?;
        if !own.is_empty() {
            return own
                .iter()
                .try_for_each(|setting| setting.apply(&member.path));
        }
        writer.write(&self.resources()?, member)?;
        // Here version 2 counts swap alone, and libcgroups takes the difference 0
        // for "not given".
        if let (
            Version::V2,
            Limit::Memory {
                limit,
                swap: Some(swap),
            },
        ) = (member.version, *self)
            && swap == limit
        {
            let file = member.path.join("memory.swap.max");
            fs::write(&file, "0").map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(())
    }

    /// Reads back what the kernel now holds.
    pub(super) fn verify(&self, member: &Member) -> std::result::Result<(), String> {
        for (file, expected) in self.expected(member.version) {
            let path = member.path.join(file);
            let found = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            if found.trim() != expected {
                return Err(format!(
                    "{file} is {} where {expected} was asked for",
                    found.trim()
                ));
            }
        }
        Ok(())
    }

    /// Files and the values that they have once the limit holds.
    fn expected(&self, version: Version) -> Vec<(&'static str, String)> {
        let pages = |bytes: u64| (bytes / PAGE * PAGE).to_string();
        match (version, *self) {
            (Version::V1, Limit::Memory { limit, swap }) => {
                let mut files = vec![("memory.limit_in_bytes", pages(limit))];
                files.extend(
                    swap.filter(|swap| *swap != u64::MAX)
                        .map(|swap| ("memory.memsw.limit_in_bytes", pages(swap))),
                );
                files
            }
            (Version::V2, Limit::Memory { limit, swap }) => {
                let mut files = vec![("memory.max", pages(limit))];
                files.extend(swap.map(|swap| {
                    (
                        "memory.swap.max",
                        if swap == u64::MAX {
                            "max".to_owned()
                        } else {
                            pages(swap - limit)
                        },
                    )
                }));
                files
            }
            (Version::V1, Limit::Reservation(bytes)) => {
                vec![("memory.soft_limit_in_bytes", pages(bytes))]
            }
            (Version::V2, Limit::Reservation(bytes)) => vec![("memory.low", pages(bytes))],
            (Version::V1, Limit::Time { quota, period, .. }) => {
                let quota = quota.map_or(NO_QUOTA.to_string(), |quota| quota.to_string());
                vec![
                    ("cpu.cfs_period_us", period.to_string()),
                    ("cpu.cfs_quota_us", quota),
                ]
            }
            (Version::V2, Limit::Time { quota, period, .. }) => {
                let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
                vec![("cpu.max", format!("{quota} {period}"))]
            }
            (_, Limit::Nodes(nodes)) => vec![("cpuset.mems", nodes.to_owned())],
            (Version::V1, Limit::Shares(shares)) => vec![("cpu.shares", shares.to_string())],
            // The weight is on another scale, and the list of CPUs may be written
            // in another way; that the write was taken is enough there.
            (Version::V2, Limit::Shares(_)) | (_, Limit::Cpuset(_)) => Vec::new(),
            // Read back where they are written.
            (_, Limit::Swappiness(_) | Limit::NoOomKill | Limit::Weight(_) | Limit::Device(_)) => {
                Vec::new()
            }
            (_, Limit::Pids(pids)) => vec![("pids.max", pids.to_string())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_counted_with_memory_in_version_1_and_alone_in_version_2() {
        let limit = Limit::Memory {
            limit: 64 << 20,
            swap: Some(96 << 20),
        };
        let v1 = limit.expected(Version::V1);
        assert_eq!(
            v1[1],
            ("memory.memsw.limit_in_bytes", (96u64 << 20).to_string())
        );
        let v2 = limit.expected(Version::V2);
        assert_eq!(v2[1], ("memory.swap.max", (32u64 << 20).to_string()));
        let unlimited = Limit::Memory {
            limit: 64 << 20,
            swap: Some(u64::MAX),
        };
        assert_eq!(unlimited.expected(Version::V2)[1].1, "max");
        assert_eq!(unlimited.expected(Version::V1).len(), 1);
    }

    #[test]
    fn cpu_time_is_a_quota_per_period() {
        let time = |quota, period| Limit::Time {
            flag: "--cpus",
            quota,
            period,
        };
        for (limit, v1, v2) in [
            (
                time(Some(150_000), 100_000),
                ["100000", "150000"],
                "150000 100000",
            ),
            (time(None, 50_000), ["50000", "-1"], "max 50000"),
        ] {
            assert_eq!(limit.expected(Version::V2), [("cpu.max", v2.to_owned())]);
            let found: Vec<String> = limit
                .expected(Version::V1)
                .into_iter()
                .map(|(_, value)| value)
                .collect();
            assert_eq!(found, v1);
        }
    }

    #[test]
    fn what_version_2_does_not_have_is_refused_there() {
        for limit in [Limit::Swappiness(5), Limit::NoOomKill] {
            assert_eq!(limit.own(Version::V1).unwrap().len(), 1);
            assert!(limit.own(Version::V2).unwrap_err().contains("version 2"));
        }
    }
}

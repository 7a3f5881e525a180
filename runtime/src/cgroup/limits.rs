//! Limits: written through libcgroups, one by one so that an error names the one
//! that failed, and read back: some writes succeed there without an effect.

use std::fs;
use std::path::Path;

use libcgroups::common::{CgroupManager, ControllerOpt};
use libcgroups::{v1, v2};
use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources};

use super::Member;
use super::hierarchy::Version;
use crate::error::{Error, Kind, Result};
use crate::workload::Resources;

/// Length in microseconds of the period that a CPU quota is given per.
const PERIOD: u64 = 100_000;
/// Granularity of memory limits in the kernel.
const PAGE: u64 = 4096;

/// What to hold an instance to; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; `u64::MAX` is no limit.
    pub memory_swap: Option<u64>,
    /// Bytes of memory that are left when the host runs short.
    pub memory_reservation: Option<u64>,
    /// CPU time in thousandths of a CPU.
    pub cpus_milli: Option<u64>,
    /// Relative weight, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// List of CPUs, as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Largest number of processes and threads.
    pub pids: Option<u64>,
}

impl From<&Resources> for Limits {
    fn from(resources: &Resources) -> Limits {
        Limits {
            memory: resources.memory,
            memory_swap: resources.memory_swap,
            memory_reservation: resources.memory_reservation,
            cpus_milli: resources.cpus_milli,
            cpu_shares: resources.cpu_shares,
            cpuset_cpus: resources.cpuset_cpus.clone(),
            pids: resources.pids,
        }
    }
}

/// One limit that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit<'a> {
    Memory { limit: u64, swap: Option<u64> },
    Reservation(u64),
    Cpus(u64),
    Shares(u64),
    Cpuset(&'a str),
    Pids(u64),
}

impl Limits {
    /// No limit is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }

    /// The limits one by one.
    fn each(&self) -> Result<Vec<Limit<'_>>> {
        let mut all = Vec::new();
        match (self.memory, self.memory_swap) {
            (Some(0), _) | (_, Some(0)) => return Err(invalid("--memory", "a limit of 0 bytes")),
            (Some(limit), Some(swap)) if swap < limit => {
                return Err(invalid(
                    "--memory-swap",
                    "memory and swap together can't be less than --memory",
                ));
            }
            (Some(limit), swap) => all.push(Limit::Memory { limit, swap }),
            (None, None | Some(u64::MAX)) => {}
            (None, Some(_)) => return Err(invalid("--memory-swap", "it needs --memory, too")),
        }
        match self.pids {
            Some(0) => return Err(invalid("--pids-limit", "nothing could run")),
            Some(pids) => all.push(Limit::Pids(pids)),
            None => {}
        }
        all.extend(self.memory_reservation.map(Limit::Reservation));
        all.extend(self.cpus_milli.map(Limit::Cpus));
        all.extend(self.cpu_shares.map(Limit::Shares));
        all.extend(self.cpuset_cpus.as_deref().map(Limit::Cpuset));
        Ok(all)
    }

    /// Writes all limits into the groups of the instance `id`.
    ///
    /// # Errors
    /// A limit that has no controller here or that the kernel refused, by name.
    pub(crate) fn apply(
        &self,
        id: &str,
        members: &[Member],
        unavailable: Option<&str>,
    ) -> Result<()> {
        let mut writer = Writer { id, v1: None };
        for limit in self.each()? {
            let controller = limit.controller();
            let member = members.iter().find(|member| member.has(controller)).ok_or_else(|| {
                let why = unavailable.map_or(String::new(), |why| format!(" ({why})"));
                Error::new(
                    Kind::Unsupported,
                    format!("cannot set {}: there is no cgroup with the controller '{controller}'{why}", limit.flag()),
                )
                .hint("`isola doctor` shows the controllers of this host")
            })?;
            limit
                .write(&mut writer, member)
                .and_then(|()| limit.verify(member))
                .map_err(|why| {
                    Error::new(
                        Kind::System,
                        format!(
                            "cannot set {} on the cgroup {}: {why}",
                            limit.flag(),
                            member.path.display()
                        ),
                    )
                })?;
        }
        Ok(())
    }
}

/// The managers of libcgroups for one instance.
struct Writer<'a> {
    id: &'a str,
    /// Made once: it reads the mount table two dozen times (2 ms).
    v1: Option<v1::Manager>,
}

impl Writer<'_> {
    fn write(
        &mut self,
        resources: &LinuxResources,
        member: &Member,
    ) -> std::result::Result<(), String> {
        let options = ControllerOpt {
            resources,
            disable_oom_killer: false,
            oom_score_adj: None,
            freezer_state: None,
        };
        // Never empty: that would be the caller's own group.
        let path = Path::new("/").join(super::PARENT).join(self.id);
        match member.version {
            Version::V1 => {
                let manager = match self.v1.take() {
                    Some(manager) => manager,
                    None => v1::Manager::new(&path).map_err(|error| error.to_string())?,
                };
                self.v1
                    .insert(manager)
                    .apply(&options)
                    .map_err(|error| error.to_string())
            }
            Version::V2 => v2::manager::Manager::new(member.mount.clone(), path)
                .and_then(|manager| manager.apply(&options))
                .map_err(|error| error.to_string()),
        }
    }
}

fn invalid(flag: &str, why: &str) -> Error {
    Error::new(Kind::Invalid, format!("invalid {flag}: {why}"))
}

impl Limit<'_> {
    /// The option that asked for it.
    fn flag(&self) -> &'static str {
        match self {
            Limit::Memory { swap: None, .. } => "--memory",
            Limit::Memory { swap: Some(_), .. } => "--memory and --memory-swap",
            Limit::Reservation(_) => "--memory-reservation",
            Limit::Cpus(_) => "--cpus",
            Limit::Shares(_) => "--cpu-shares",
            Limit::Cpuset(_) => "--cpuset-cpus",
            Limit::Pids(_) => "--pids-limit",
        }
    }

    /// The controller that holds it, the same in both versions.
    fn controller(&self) -> &'static str {
        match self {
            Limit::Memory { .. } | Limit::Reservation(_) => "memory",
            Limit::Cpus(_) | Limit::Shares(_) => "cpu",
            Limit::Cpuset(_) => "cpuset",
            Limit::Pids(_) => "pids",
        }
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
            Limit::Cpus(_) => {
                let cpu = LinuxCpuBuilder::default()
                    .quota(signed(self.quota())?)
                    .period(PERIOD);
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

    /// Microseconds of CPU time per period.
    fn quota(&self) -> u64 {
        match self {
            Limit::Cpus(milli) => milli.saturating_mul(PERIOD / 1000),
            _ => 0,
        }
    }

    fn write(&self, writer: &mut Writer<'_>, member: &Member) -> std::result::Result<(), String> {
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
    fn verify(&self, member: &Member) -> std::result::Result<(), String> {
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
            (Version::V1, Limit::Cpus(_)) => vec![("cpu.cfs_quota_us", self.quota().to_string())],
            (Version::V2, Limit::Cpus(_)) => {
                vec![("cpu.max", format!("{} {PERIOD}", self.quota()))]
            }
            (Version::V1, Limit::Shares(shares)) => vec![("cpu.shares", shares.to_string())],
            // The weight is on another scale, and the list of CPUs may be written
            // in another way; that the write was taken is enough there.
            (Version::V2, Limit::Shares(_)) | (_, Limit::Cpuset(_)) => Vec::new(),
            (_, Limit::Pids(pids)) => vec![("pids.max", pids.to_string())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(limits: Limits) -> String {
        limits.each().unwrap_err().message
    }

    #[test]
    fn senseless_limits_are_refused_by_name() {
        let base = Limits::default();
        assert!(base.is_empty());
        let zero = Limits {
            pids: Some(0),
            ..base.clone()
        };
        assert!(message(zero).contains("--pids-limit"));
        let swap = Limits {
            memory_swap: Some(1 << 30),
            ..base.clone()
        };
        assert!(message(swap).contains("--memory-swap"));
        let less = Limits {
            memory: Some(2 << 20),
            memory_swap: Some(1 << 20),
            ..base.clone()
        };
        assert!(message(less).contains("--memory-swap"));
        assert!(
            message(Limits {
                memory: Some(0),
                ..base
            })
            .contains("--memory")
        );
    }

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
    fn cpus_become_a_quota() {
        assert_eq!(
            Limit::Cpus(1500).expected(Version::V2),
            [("cpu.max", "150000 100000".to_owned())]
        );
    }
}

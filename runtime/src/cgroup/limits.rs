//! Limits: written one by one so that an error names the one that failed, and read
//! back: some writes succeed without an effect.
//!
//! libcgroups writes what it writes well; block devices, swappiness and the OOM killer
//! are written here ([`block`]): it leaves out weights of single devices on version 1,
//! its weight on version 2 overflows, and the last two go only with a limit of memory.

mod block;
mod single;

use std::path::Path;

use libcgroups::common::{CgroupManager, ControllerOpt};
use libcgroups::{v1, v2};
use oci_spec::runtime::LinuxResources;

use self::single::Limit;
use super::Member;
use super::hierarchy::Version;
use crate::error::{Error, Kind, Result};
use crate::workload::{BlockIo, CPU_PERIOD, Resources};

/// What to hold an instance to; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; `u64::MAX` is no limit.
    pub memory_swap: Option<u64>,
    /// Bytes of memory that are left when the host runs short.
    pub memory_reservation: Option<u64>,
    /// How readily memory is swapped out, 0 to 100; version 1 alone.
    pub swappiness: Option<u8>,
    /// Processes wait for memory instead of being killed; version 1 alone.
    pub oom_kill_disable: bool,
    /// CPU time in thousandths of a CPU.
    pub cpus_milli: Option<u64>,
    /// Microseconds of CPU time per period.
    pub cpu_quota: Option<u64>,
    /// Microseconds of that period; `None` is 100 ms.
    pub cpu_period: Option<u64>,
    /// Relative weight, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// List of CPUs, as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// List of memory nodes, as `0-1`.
    pub cpuset_mems: Option<String>,
    /// Block devices.
    pub block: BlockIo,
    /// Largest number of processes and threads.
    pub pids: Option<u64>,
}

impl From<&Resources> for Limits {
    fn from(resources: &Resources) -> Limits {
        Limits {
            memory: resources.memory,
            memory_swap: resources.memory_swap,
            memory_reservation: resources.memory_reservation,
            swappiness: resources.memory_swappiness,
            oom_kill_disable: resources.oom_kill_disable,
            cpus_milli: resources.cpus_milli,
            cpu_quota: resources.cpu_quota,
            cpu_period: resources.cpu_period,
            cpu_shares: resources.cpu_shares,
            cpuset_cpus: resources.cpuset_cpus.clone(),
            cpuset_mems: resources.cpuset_mems.clone(),
            block: resources.block.clone(),
            pids: resources.pids,
        }
    }
}

impl Limits {
    /// No limit is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }

    /// CPUs or memory nodes are chosen.
    pub(super) fn needs_cpuset(&self) -> bool {
        self.cpuset_cpus.is_some() || self.cpuset_mems.is_some()
    }

    /// CPU time, by whichever way it was asked for.
    fn time(&self) -> Option<Limit<'_>> {
        let (flag, quota, period) = match (self.cpus_milli, self.cpu_quota, self.cpu_period) {
            (Some(milli), _, _) => {
                let quota = milli.saturating_mul(CPU_PERIOD / 1000);
                ("--cpus", Some(quota), CPU_PERIOD)
            }
            (_, Some(quota), period) => ("--cpu-quota", Some(quota), period.unwrap_or(CPU_PERIOD)),
            (_, _, Some(period)) => ("--cpu-period", None, period),
            _ => return None,
        };
        Some(Limit::Time {
            flag,
            quota,
            period,
        })
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
        all.extend(self.swappiness.map(Limit::Swappiness));
        all.extend(self.oom_kill_disable.then_some(Limit::NoOomKill));
        all.extend(self.time());
        all.extend(self.cpu_shares.map(Limit::Shares));
        all.extend(self.cpuset_cpus.as_deref().map(Limit::Cpuset));
        all.extend(self.cpuset_mems.as_deref().map(Limit::Nodes));
        all.extend(self.block.weight.map(Limit::Weight));
        all.extend(self.block.devices.iter().map(Limit::Device));
        Ok(all)
    }

    /// Writes all limits into the groups at `path`, from the root of every hierarchy.
    ///
    /// # Errors
    /// A limit that has no controller here or that the kernel refused, by name.
    pub(crate) fn apply(
        &self,
        path: &Path,
        members: &[Member],
        unavailable: Option<&str>,
    ) -> Result<()> {
        let mut writer = Writer { path, v1: None };
        for limit in self.each()? {
            let member = members.iter().find(|member| limit.is_held_by(member)).ok_or_else(|| {
                let why = unavailable.map_or(String::new(), |why| format!(" ({why})"));
                let controller = limit.controller();
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
    path: &'a Path,
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
        // Never empty, which would be the caller's own group: it ends in the id.
        let path = self.path.to_owned();
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
    fn cpu_time_is_asked_for_in_one_of_three_ways() {
        let time = |cpus_milli, cpu_quota, cpu_period| {
            let limits = Limits {
                cpus_milli,
                cpu_quota,
                cpu_period,
                ..Limits::default()
            };
            match limits.time() {
                Some(Limit::Time { quota, period, .. }) => Some((quota, period)),
                _ => None,
            }
        };
        assert_eq!(time(None, None, None), None);
        assert_eq!(time(Some(1500), None, None), Some((Some(150_000), 100_000)));
        assert_eq!(
            time(None, Some(20_000), None),
            Some((Some(20_000), 100_000))
        );
        assert_eq!(
            time(None, Some(20_000), Some(40_000)),
            Some((Some(20_000), 40_000))
        );
        assert_eq!(time(None, None, Some(40_000)), Some((None, 40_000)));
    }
}

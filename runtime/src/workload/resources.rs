//! What a workload may use.

use isola_proto::spec::Rlimit;
use serde::{Deserialize, Serialize};

/// Limits; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes of memory; for a guest the size of its RAM.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; `Some(u64::MAX)` is no limit.
    pub memory_swap: Option<u64>,
    /// Soft limit of memory in bytes.
    pub memory_reservation: Option<u64>,
    /// How readily the kernel swaps its memory out, 0 to 100; `None` is the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<u8>,
    /// Processes wait for memory instead of being killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_kill_disable: bool,
    /// CPU time in thousandths of a CPU (`--cpus 1.5` is 1500).
    pub cpus_milli: Option<u64>,
    /// Microseconds of CPU time per period, of all CPUs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<u64>,
    /// Microseconds of that period; `None` is the kernel's 100 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<u64>,
    /// Virtual CPUs of a guest; `None` where the wall has none.
    pub vcpus: Option<u32>,
    /// Relative weight, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// List of CPUs, as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// List of memory nodes, as `0-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// Block devices.
    #[serde(default, skip_serializing_if = "BlockIo::is_empty")]
    pub block: BlockIo,
    /// Largest number of processes.
    pub pids: Option<u64>,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// Process limits.
    pub ulimits: Vec<Rlimit>,
    /// Value for /proc/self/oom_score_adj.
    pub oom_score_adj: Option<i32>,
    /// Path, from the root of every cgroup hierarchy, of the group that its own is
    /// made in; `None` is the tool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
}

/// The kernel's period of CPU quotas, in microseconds.
pub(crate) const CPU_PERIOD: u64 = 100_000;

impl Resources {
    /// CPU time in thousandths of a CPU, by whichever way it was asked for.
    pub(crate) fn cpu_milli(&self) -> Option<u64> {
        let period = self.cpu_period.unwrap_or(CPU_PERIOD).max(1);
        let by_quota = |quota: u64| quota.saturating_mul(1000).div_ceil(period);
        self.cpus_milli.or(self.cpu_quota.map(by_quota))
    }
}

/// Limits on block devices of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockIo {
    /// Weight against other groups, 10 to 1000, on devices that share by weight.
    pub weight: Option<u16>,
    /// What holds for single devices, each of which comes once.
    pub devices: Vec<BlockDevice>,
}

impl BlockIo {
    /// Nothing was asked for.
    pub fn is_empty(&self) -> bool {
        *self == BlockIo::default()
    }
}

/// What holds for one block device; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// Its node on the host, as the user named it.
    pub path: String,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Weight against other groups, 10 to 1000.
    pub weight: Option<u16>,
    /// Bytes read per second.
    pub read_bps: Option<u64>,
    /// Bytes written per second.
    pub write_bps: Option<u64>,
    /// Reads per second, less than 2^32.
    pub read_iops: Option<u64>,
    /// Writes per second, less than 2^32.
    pub write_iops: Option<u64>,
}

/// A writable layer on a disk of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Bytes.
    pub size: u64,
    /// Allocate all of it at once.
    pub thick: bool,
}

//! Flags that limit what an instance may use.

use clap::Args;
use isola_runtime::workload::Options;

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitFlags {
    /// Memory; for a guest the size of its RAM
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Memory and swap together; -1 is no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Soft limit of memory
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// How readily its memory is swapped out, 0 to 100 (cgroup version 1)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    memory_swappiness: Option<i64>,
    /// Let processes wait for memory instead of killing one (cgroup version 1)
    #[arg(long)]
    oom_kill_disable: bool,
    /// CPUs, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Microseconds of CPU time per period, instead of --cpus; -1 is no limit
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Microseconds of that period, 1000 to 1000000; 100000 unless told
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_period: Option<i64>,
    /// CPUs to run on, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to take memory from, such as 0-1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Relative weight of CPU time
    #[arg(short, long, value_name = "WEIGHT", allow_negative_numbers = true)]
    cpu_shares: Option<i64>,
    /// Weight for block devices, 10 to 1000, on those that share by weight
    #[arg(long, value_name = "WEIGHT", allow_negative_numbers = true)]
    blkio_weight: Option<i64>,
    /// The same for one device
    #[arg(long, value_name = "PATH:WEIGHT")]
    blkio_weight_device: Vec<String>,
    /// Bytes to read from a block device per second
    #[arg(long, value_name = "PATH:SIZE")]
    device_read_bps: Vec<String>,
    /// Bytes to write to a block device per second
    #[arg(long, value_name = "PATH:SIZE")]
    device_write_bps: Vec<String>,
    /// Reads from a block device per second
    #[arg(long, value_name = "PATH:NUMBER")]
    device_read_iops: Vec<String>,
    /// Writes to a block device per second
    #[arg(long, value_name = "PATH:NUMBER")]
    device_write_iops: Vec<String>,
    /// Make its cgroup in this one, a path from the root of the hierarchies
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// Largest number of processes; -1 is no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Process limit NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Preference of the kernel when memory runs out, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
}

impl LimitFlags {
    /// Puts what was said into the options.
    pub(super) fn fill(&self, options: &mut Options) {
        let LimitFlags {
            memory,
            memory_swap,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            cpus,
            cpu_quota,
            cpu_period,
            cpuset_cpus,
            cpuset_mems,
            cpu_shares,
            blkio_weight,
            blkio_weight_device,
            device_read_bps,
            device_write_bps,
            device_read_iops,
            device_write_iops,
            cgroup_parent,
            pids_limit,
            ulimit,
            oom_score_adj,
        } = self;
        options.memory.clone_from(memory);
        options.memory_swap.clone_from(memory_swap);
        options.memory_reservation.clone_from(memory_reservation);
        options.memory_swappiness = *memory_swappiness;
        options.oom_kill_disable = *oom_kill_disable;
        options.cpus.clone_from(cpus);
        options.cpu_quota = *cpu_quota;
        options.cpu_period = *cpu_period;
        options.cpuset_cpus.clone_from(cpuset_cpus);
        options.cpuset_mems.clone_from(cpuset_mems);
        options.cpu_shares = *cpu_shares;
        options.blkio_weight = *blkio_weight;
        options.blkio_weight_device.clone_from(blkio_weight_device);
        options.device_read_bps.clone_from(device_read_bps);
        options.device_write_bps.clone_from(device_write_bps);
        options.device_read_iops.clone_from(device_read_iops);
        options.device_write_iops.clone_from(device_write_iops);
        options.cgroup_parent.clone_from(cgroup_parent);
        options.pids_limit = *pids_limit;
        options.ulimit.clone_from(ulimit);
        options.oom_score_adj = *oom_score_adj;
    }
}

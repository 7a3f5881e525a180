//! What a user says for `run` and `create`: strings as they come from flags or
//! from a compose file. Nothing is parsed or looked up here; [`super::resolve`]
//! does both.

use serde::{Deserialize, Serialize};

/// Options by the names that Docker gives them. An absent value is the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Arguments after the image's name.
    pub args: Vec<String>,
    /// `--entrypoint`; one empty string, or an empty list, resets the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `-e NAME=VALUE` or `-e NAME` (taken from the user's environment).
    pub env: Vec<String>,
    /// `--env-file`, paths.
    pub env_file: Vec<String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `--group-add`.
    pub group_add: Vec<String>,
    /// `-h`.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// `--add-host NAME:ADDRESS`.
    pub add_host: Vec<String>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub interactive: bool,
    /// `--init`.
    pub init: bool,
    /// `--stop-signal`.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, seconds; -1 waits for ever.
    pub stop_timeout: Option<i64>,
    /// `--read-only`.
    pub read_only: bool,
    /// `-v SOURCE:TARGET[:OPTIONS]`.
    pub volume: Vec<String>,
    /// `--mount type=...,source=...,target=...`.
    pub mount: Vec<String>,
    /// `--volumes-from INSTANCE[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// `--tmpfs TARGET[:OPTIONS]`.
    pub tmpfs: Vec<String>,
    /// `--device SOURCE[:TARGET[:rwm]]`.
    pub device: Vec<String>,
    /// `--device-cgroup-rule KIND MAJOR:MINOR ACCESS`.
    pub device_cgroup_rule: Vec<String>,
    /// `--gpus`.
    pub gpus: Option<String>,
    /// `--sysctl NAME=VALUE`.
    pub sysctl: Vec<String>,
    /// `--ulimit NAME=SOFT[:HARD]`.
    pub ulimit: Vec<String>,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--security-opt`.
    pub security_opt: Vec<String>,
    /// `--userns`.
    pub userns: Option<String>,
    /// `--pid`: private, host or container:NAME.
    pub pid: Option<String>,
    /// `--ipc`: private, shareable, none, host or container:NAME.
    pub ipc: Option<String>,
    /// `--uts`: private or host.
    pub uts: Option<String>,
    /// `--cgroupns`: private or host.
    pub cgroupns: Option<String>,
    /// `-m`.
    pub memory: Option<String>,
    /// `--memory-swap`.
    pub memory_swap: Option<String>,
    /// `--memory-reservation`.
    pub memory_reservation: Option<String>,
    /// `--memory-swappiness`, 0 to 100; -1 is the host's.
    pub memory_swappiness: Option<i64>,
    /// `--oom-kill-disable`.
    pub oom_kill_disable: bool,
    /// `--cpus`.
    pub cpus: Option<String>,
    /// `--cpu-period`, microseconds; 0 is the kernel's.
    pub cpu_period: Option<i64>,
    /// `--cpu-quota`, microseconds; 0 and -1 are no limit.
    pub cpu_quota: Option<i64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `-c`, `--cpu-shares`.
    pub cpu_shares: Option<i64>,
    /// `--blkio-weight`; 0 is none.
    pub blkio_weight: Option<i64>,
    /// `--blkio-weight-device PATH:WEIGHT`.
    pub blkio_weight_device: Vec<String>,
    /// `--device-read-bps PATH:SIZE`.
    pub device_read_bps: Vec<String>,
    /// `--device-write-bps PATH:SIZE`.
    pub device_write_bps: Vec<String>,
    /// `--device-read-iops PATH:NUMBER`.
    pub device_read_iops: Vec<String>,
    /// `--device-write-iops PATH:NUMBER`.
    pub device_write_iops: Vec<String>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--pids-limit`; 0 and -1 are no limit.
    pub pids_limit: Option<i64>,
    /// `--shm-size`.
    pub shm_size: Option<String>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// `--disk SIZE` or `--disk thick:SIZE`.
    pub disk: Option<String>,
    /// `--network NAME` or `--network name=NAME,alias=...,ip=...`, once per network.
    pub network: Vec<String>,
    /// `--network-alias`, for the first network.
    pub network_alias: Vec<String>,
    /// `--ip`, for the first network.
    pub ip: Option<String>,
    /// `--ip6`, for the first network.
    pub ip6: Option<String>,
    /// `--mac-address`, for the first network.
    pub mac_address: Option<String>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-search`; a single `.` is none.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_option: Vec<String>,
    /// `-p [[ADDRESS:]HOST:]PORT[/PROTOCOL]`.
    pub publish: Vec<String>,
    /// `-P`.
    pub publish_all: bool,
    /// `--expose PORT[/PROTOCOL]`.
    pub expose: Vec<String>,
    /// `-l`, `--label`.
    pub label: Vec<String>,
    /// `--label-file`, paths.
    pub label_file: Vec<String>,
    /// `--annotation`
    pub annotation: Vec<String>,
    /// `--restart`.
    pub restart: Option<String>,
    /// `--rm`.
    pub rm: bool,
    /// `--platform`.
    pub platform: Option<String>,
    /// `--log-driver`.
    pub log_driver: Option<String>,
    /// `--log-opt NAME=VALUE`.
    pub log_opt: Vec<String>,
    /// `--health-cmd`, in the form that images have: `CMD` or `CMD-SHELL` and what
    /// is run, or `NONE`.
    pub health_cmd: Option<Vec<String>>,
    /// `--health-interval`, as `1m30s`; 0 is the image's or the default.
    pub health_interval: Option<String>,
    /// `--health-timeout`.
    pub health_timeout: Option<String>,
    /// `--health-start-period`.
    pub health_start_period: Option<String>,
    /// `--health-start-interval`.
    pub health_start_interval: Option<String>,
    /// `--health-retries`; 0 is the image's or the default.
    pub health_retries: Option<i64>,
    /// `--no-healthcheck`.
    pub no_healthcheck: bool,
}

/// What a user says for `exec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExecOptions {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `-e`.
    pub env: Vec<String>,
    /// `--env-file`, paths.
    pub env_file: Vec<String>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub interactive: bool,
    /// `--privileged`.
    pub privileged: bool,
}

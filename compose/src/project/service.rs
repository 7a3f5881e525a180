//! A service as it is typed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::parts::*;
use super::{Build, Deploy, Develop, DeviceRequest, Hook};

/// A service: all attributes of the specification, in the order of its tables.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Profiles that turn it on; none: it is always on.
    pub profiles: Vec<String>,
    /// Annotations.
    pub annotations: Labels,
    /// Whether `up` shows its output.
    pub attach: Option<bool>,
    /// How its image is made.
    pub build: Option<Build>,
    /// What happens when files change.
    pub develop: Option<Develop>,
    /// Limits on block devices.
    pub blkio_config: Option<Blkio>,
    /// Capabilities to add.
    pub cap_add: Vec<String>,
    /// Capabilities to take away.
    pub cap_drop: Vec<String>,
    /// The cgroup above its own.
    pub cgroup_parent: Option<String>,
    /// `host` or `private`.
    pub cgroup: Option<String>,
    /// CPUs; for Windows.
    pub cpu_count: Option<u32>,
    /// Share of the CPUs in percent; for Windows.
    pub cpu_percent: Option<f64>,
    /// Microseconds of the CFS period.
    pub cpu_period: Option<i64>,
    /// Microseconds of each period that it may run.
    pub cpu_quota: Option<i64>,
    /// Microseconds of the real-time period.
    pub cpu_rt_period: Option<i64>,
    /// Microseconds of each real-time period.
    pub cpu_rt_runtime: Option<i64>,
    /// CPUs it may use at once.
    pub cpus: Option<f64>,
    /// CPUs it may run on: `0-3,5`.
    pub cpuset: Option<String>,
    /// Weight against others.
    pub cpu_shares: Option<u32>,
    /// Instead of the image's arguments; empty: none.
    pub command: Option<Vec<String>>,
    /// Configs it gets as files.
    pub configs: Vec<FileReference>,
    /// The name of its one instance.
    pub container_name: Option<String>,
    /// For Windows.
    pub credential_spec: Option<CredentialSpec>,
    /// What must be there before it, implied ones too.
    pub depends_on: BTreeMap<String, Dependency>,
    /// Replicas, limits, restarts.
    pub deploy: Option<Deploy>,
    /// Rules for the devices cgroup.
    pub device_cgroup_rules: Vec<String>,
    /// Devices of the host.
    pub devices: Vec<DeviceMapping>,
    /// Addresses of name servers.
    pub dns: Vec<String>,
    /// Options of the resolver.
    pub dns_opt: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Instead of the image's entrypoint; empty: none.
    pub entrypoint: Option<Vec<String>>,
    /// A program that manages it.
    pub provider: Option<Provider>,
    /// Variables, those of `env_file` included; `None` is one that was not set anywhere.
    pub environment: Variables,
    /// Ports that others of the project may use.
    pub expose: Vec<String>,
    /// `INSTANCE[:ALIAS]` outside of the project.
    pub external_links: Vec<String>,
    /// Lines of its hosts file, as `NAME=ADDRESS`.
    pub extra_hosts: Vec<String>,
    /// Further groups, names or numbers.
    pub group_add: Vec<String>,
    /// GPUs.
    pub gpus: Vec<DeviceRequest>,
    /// Its own host name.
    pub hostname: Option<String>,
    /// How its health is found out.
    pub healthcheck: Option<HealthCheck>,
    /// The image.
    pub image: Option<String>,
    /// Whether PID 1 is an init that reaps.
    pub init: Option<bool>,
    /// IPC namespace: `host`, `service:NAME`, `shareable`.
    pub ipc: Option<String>,
    /// The walls to try, in order; empty: the user's default.
    pub isolation: Walls,
    /// Labels, those of `label_file` included.
    pub labels: Labels,
    /// `SERVICE[:ALIAS]`.
    pub links: Vec<String>,
    /// Where its output goes.
    pub logging: Option<Logging>,
    /// Memory.
    pub mem_limit: Option<Bytes>,
    /// Memory that is kept when the host is short of it.
    pub mem_reservation: Option<Bytes>,
    /// Memory and swap together; -1 is no limit.
    pub memswap_limit: Option<Bytes>,
    /// 0 to 100; -1 is the host's.
    pub mem_swappiness: Option<i64>,
    /// Address of its first interface.
    pub mac_address: Option<String>,
    /// Language models.
    pub models: BTreeMap<String, Option<ModelUse>>,
    /// `none`, `host`, `service:NAME`, `container:NAME`, or a network.
    pub network_mode: Option<String>,
    /// Networks it is in.
    pub networks: BTreeMap<String, Option<Link>>,
    /// Whether the OOM killer leaves it alone.
    pub oom_kill_disable: Option<bool>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i64>,
    /// PID namespace: `host`, `service:NAME`, `container:NAME`.
    pub pid: Option<String>,
    /// Processes and threads; -1 is no limit.
    pub pids_limit: Option<i64>,
    /// `OS[/ARCHITECTURE[/VARIANT]]`
    pub platform: Option<String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// All capabilities and devices.
    pub privileged: bool,
    /// When its image is fetched.
    pub pull_policy: Option<String>,
    /// For the policy `refresh`.
    pub pull_refresh_after: Option<Span>,
    /// Its root can't be written to.
    pub read_only: bool,
    /// `no`, `always`, `unless-stopped`, `on-failure[:N]`.
    pub restart: Option<String>,
    /// Docker's runtime; read as a wall by [`crate::load`].
    pub runtime: Option<String>,
    /// How many instances.
    pub scale: Option<u32>,
    /// Secrets it gets as files.
    pub secrets: Vec<FileReference>,
    /// `no-new-privileges`, `seccomp=FILE` and the like.
    pub security_opt: Vec<String>,
    /// Size of `/dev/shm`.
    pub shm_size: Option<Bytes>,
    /// Its standard input stays open.
    pub stdin_open: bool,
    /// Between the stop signal and SIGKILL.
    pub stop_grace_period: Option<Span>,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
    /// Options of Docker's storage drivers.
    pub storage_opt: Labels,
    /// Kernel parameters.
    pub sysctls: Labels,
    /// `FOLDER[:OPTIONS]` in memory.
    pub tmpfs: Vec<String>,
    /// It gets a terminal.
    pub tty: bool,
    /// Resource limits.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Docker's socket within it.
    pub use_api_socket: bool,
    /// `USER[:GROUP]`
    pub user: Option<String>,
    /// User namespace.
    pub userns_mode: Option<String>,
    /// UTS namespace.
    pub uts: Option<String>,
    /// Folders and volumes.
    pub volumes: Vec<Mount>,
    /// `SERVICE[:ro]` or `container:NAME[:ro]`.
    pub volumes_from: Vec<String>,
    /// Where its program starts.
    pub working_dir: Option<String>,
    /// Run before it starts.
    pub pre_start: Vec<Hook>,
    /// Run within it after it started.
    pub post_start: Vec<Hook>,
    /// Run within it before it is stopped.
    pub pre_stop: Vec<Hook>,
}

impl Service {
    /// How many instances there are to be.
    pub fn replicas(&self) -> u32 {
        let deploy = self.deploy.as_ref().and_then(|deploy| deploy.replicas);
        self.scale.or(deploy).unwrap_or(1)
    }
}

const DAY: u64 = 86_400;

impl Service {
    /// For how long what a pull has brought is good enough, where `pull_policy` says so:
    /// `daily`, `weekly`, `every_DURATION`, or `refresh` with `pull_refresh_after`, without
    /// which it is for no time (compose specification, `pull_policy`).
    pub fn refresh_after(&self) -> Option<Duration> {
        match self.pull_policy.as_deref()? {
            "daily" => Some(Duration::from_secs(DAY)),
            "weekly" => Some(Duration::from_secs(7 * DAY)),
            "refresh" => Some(self.pull_refresh_after.map_or(Duration::ZERO, |it| it.0)),
            other => {
                let text = other.strip_prefix("every_")?;
                crate::units::duration(text).map(Duration::from_nanos)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_pull_policies() {
        let of = |policy: &str, after: Option<u64>| Service {
            pull_policy: Some(policy.to_owned()),
            pull_refresh_after: after.map(|seconds| Span(Duration::from_secs(seconds))),
            ..Service::default()
        };
        for (policy, after, wanted) in [
            ("always", None, None),
            ("missing", Some(9), None),
            ("daily", None, Some(DAY)),
            ("weekly", None, Some(7 * DAY)),
            ("every_12h", None, Some(DAY / 2)),
            ("every_1w2d3h4m5s", None, Some(9 * DAY + 11_045)),
            ("refresh", None, Some(0)),
            ("refresh", Some(90), Some(90)),
        ] {
            let found = of(policy, after).refresh_after();
            assert_eq!(found, wanted.map(Duration::from_secs), "{policy}");
        }
        assert_eq!(Service::default().refresh_after(), None);
    }
}

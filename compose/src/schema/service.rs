//! The attributes of a service, and what stands within them.

use super::build::{BUILD, DEVELOP};
use super::deploy::{DEPLOY, DEVICE};
use super::{
    COMMAND, COUNT, Field, HOSTS, INT, Merge, ONE_OR_MORE, PAIRS, Record, Shape, TEXTS, ULIMITS,
    VARIABLES, field, record,
};
use crate::forms::{self, keys};

/// A service: all attributes of the specification.
pub(crate) const SERVICE: Record = record("service", SERVICE_FIELDS);

const SERVICE_FIELDS: &[Field] = &[
    field("profiles", Shape::List(&Shape::Checked(forms::profile))),
    field("annotations", PAIRS),
    field("attach", Shape::Bool),
    field("build", Shape::Form(forms::build, &Shape::Record(&BUILD))),
    field("develop", Shape::Nullable(&Shape::Record(&DEVELOP))),
    field("blkio_config", Shape::Record(&BLKIO)),
    field("cap_add", TEXTS),
    field("cap_drop", TEXTS),
    field("cgroup_parent", Shape::Text),
    field("cgroup", Shape::Choice(&["host", "private"])),
    field("cpu_count", COUNT),
    field("cpu_percent", Shape::Number),
    field("cpu_period", Shape::Form(forms::microseconds, &INT)),
    field("cpu_quota", Shape::Form(forms::microseconds, &INT)),
    field("cpu_rt_period", Shape::Form(forms::microseconds, &INT)),
    field("cpu_rt_runtime", Shape::Form(forms::microseconds, &INT)),
    field("cpus", Shape::Number),
    field("cpuset", Shape::Text),
    field("cpu_shares", COUNT),
    field("command", COMMAND).merge(Merge::Replace),
    field("configs", FILES).merge(Merge::Keyed(keys::config)),
    field("container_name", Shape::Checked(forms::container_name)),
    field("credential_spec", Shape::Record(&CREDENTIALS)),
    field(
        "depends_on",
        Shape::Form(forms::depends_on, &Shape::Map(&Shape::Record(&DEPENDENCY))),
    ),
    field("deploy", Shape::Nullable(&Shape::Record(&DEPLOY))),
    field("device_cgroup_rules", TEXTS),
    field(
        "devices",
        Shape::List(&Shape::Form(forms::device, &Shape::Record(&MAPPED))),
    )
    .merge(Merge::Keyed(keys::target)),
    field("dns", ONE_OR_MORE),
    field("dns_opt", TEXTS),
    field("dns_search", ONE_OR_MORE),
    field("domainname", Shape::Text),
    field("entrypoint", COMMAND).merge(Merge::Replace),
    field("provider", Shape::Record(&PROVIDER)),
    field("environment", VARIABLES),
    field(
        "env_file",
        Shape::Form(forms::env_files, &Shape::List(&Shape::Record(&ENV_FILE))),
    )
    .merge(Merge::Keyed(keys::path)),
    field("expose", Shape::List(&Shape::Checked(forms::expose))),
    field(
        "extends",
        Shape::Form(forms::extends, &Shape::Record(&EXTENDS)),
    ),
    field("external_links", TEXTS),
    field("extra_hosts", HOSTS),
    field("group_add", TEXTS),
    field(
        "gpus",
        Shape::Form(forms::gpus, &Shape::List(&Shape::Record(&DEVICE))),
    )
    .merge(Merge::Append),
    field("hostname", Shape::Text),
    field("healthcheck", Shape::Record(&HEALTH)),
    field("image", Shape::Text),
    field("init", Shape::Bool),
    field("ipc", Shape::Text),
    field("isolation", Shape::Form(forms::isolation, &Shape::Text)),
    field("labels", PAIRS),
    field(
        "label_file",
        Shape::Form(forms::one_or_more, &Shape::List(&Shape::Path)),
    ),
    field("links", TEXTS),
    field("logging", Shape::Record(&LOGGING)).merge(Merge::SameDriver),
    field("mem_limit", Shape::Bytes),
    field("mem_reservation", Shape::Bytes),
    field("memswap_limit", Shape::Bytes),
    field("mem_swappiness", Shape::Int(-1, 100)),
    field("mac_address", Shape::Checked(forms::mac_address)),
    field(
        "models",
        Shape::Form(
            forms::names,
            &Shape::Map(&Shape::Nullable(&Shape::Record(&MODEL_USE))),
        ),
    ),
    field("network_mode", Shape::Text),
    field(
        "networks",
        Shape::Form(
            forms::names,
            &Shape::Map(&Shape::Nullable(&Shape::Record(&LINK))),
        ),
    ),
    field("oom_kill_disable", Shape::Bool),
    field("oom_score_adj", Shape::Int(-1000, 1000)),
    field("pid", Shape::Nullable(&Shape::Text)),
    field("pids_limit", Shape::Int(-1, i64::MAX)),
    field("platform", Shape::Text),
    field(
        "ports",
        Shape::Form(forms::ports, &Shape::List(&Shape::Record(&PORT))),
    )
    .merge(Merge::Keyed(keys::port)),
    field("privileged", Shape::Bool),
    field("pull_policy", Shape::Checked(forms::pull_policy)),
    field("pull_refresh_after", Shape::Duration),
    field("read_only", Shape::Bool),
    field("restart", Shape::Checked(forms::restart)),
    field("runtime", Shape::Text),
    field("scale", COUNT),
    field("secrets", FILES).merge(Merge::Keyed(keys::secret)),
    field("security_opt", TEXTS),
    field("shm_size", Shape::Bytes),
    field("stdin_open", Shape::Bool),
    field("stop_grace_period", Shape::Duration),
    field("stop_signal", Shape::Text),
    field("storage_opt", Shape::Map(&Shape::Value)),
    field("sysctls", PAIRS),
    field("tmpfs", ONE_OR_MORE).merge(Merge::Keyed(keys::tmpfs)),
    field("tty", Shape::Bool),
    field("ulimits", ULIMITS),
    field("use_api_socket", Shape::Bool),
    field("user", Shape::Text),
    field("userns_mode", Shape::Text),
    field("uts", Shape::Text),
    field(
        "volumes",
        Shape::List(&Shape::Form(forms::volume, &Shape::Record(&MOUNT))),
    )
    .merge(Merge::Keyed(keys::target)),
    field("volumes_from", TEXTS),
    field("working_dir", Shape::Text),
    field("pre_start", HOOKS).merge(Merge::Append),
    field("post_start", HOOKS).merge(Merge::Append),
    field("pre_stop", HOOKS).merge(Merge::Append),
];

/// Secrets or configs that a service gets as files.
const FILES: Shape = Shape::List(&Shape::Form(forms::file_reference, &Shape::Record(&FILE)));
pub(super) const BUILD_SECRETS: Shape = FILES;
const HOOKS: Shape = Shape::List(&Shape::Record(&HOOK));

const FILE: Record = record("secret or config", FILE_FIELDS).requires(&["source"]);

const FILE_FIELDS: &[Field] = &[
    field("source", Shape::Text),
    field("target", Shape::Text),
    field("uid", Shape::Text),
    field("gid", Shape::Text),
    field("mode", Shape::Mode),
];

/// A command that is run in a service.
pub(super) const HOOK: Record = record("hook", HOOK_FIELDS).requires(&["command"]);

const HOOK_FIELDS: &[Field] = &[
    field("command", COMMAND).merge(Merge::Replace),
    field("user", Shape::Text),
    field("privileged", Shape::Bool),
    field("working_dir", Shape::Text),
    field("environment", VARIABLES),
];

const BLKIO: Record = record("blkio_config", BLKIO_FIELDS);

const BLKIO_FIELDS: &[Field] = &[
    field("weight", Shape::Int(0, 1000)),
    field("weight_device", Shape::List(&Shape::Record(&WEIGHT))).merge(Merge::Keyed(keys::path)),
    field("device_read_bps", RATES).merge(Merge::Keyed(keys::path)),
    field("device_read_iops", RATES).merge(Merge::Keyed(keys::path)),
    field("device_write_bps", RATES).merge(Merge::Keyed(keys::path)),
    field("device_write_iops", RATES).merge(Merge::Keyed(keys::path)),
];

const RATES: Shape = Shape::List(&Shape::Record(&RATE));

const WEIGHT: Record = record("weight of a device", WEIGHT_FIELDS).requires(&["path", "weight"]);

const WEIGHT_FIELDS: &[Field] = &[
    field("path", Shape::Text),
    field("weight", Shape::Int(0, 1000)),
];

const RATE: Record = record("rate of a device", RATE_FIELDS).requires(&["path", "rate"]);

const RATE_FIELDS: &[Field] = &[field("path", Shape::Text), field("rate", Shape::Bytes)];

const CREDENTIALS: Record = record("credential_spec", CREDENTIALS_FIELDS);

const CREDENTIALS_FIELDS: &[Field] = &[
    field("config", Shape::Text),
    field("file", Shape::Text),
    field("registry", Shape::Text),
];

const DEPENDENCY: Record = record("dependency", DEPENDENCY_FIELDS).requires(&["condition"]);

const DEPENDENCY_FIELDS: &[Field] = &[
    field(
        "condition",
        Shape::Choice(&[
            "service_started",
            "service_healthy",
            "service_completed_successfully",
        ]),
    ),
    field("restart", Shape::Bool),
    field("required", Shape::Bool),
];

const MAPPED: Record = record("device", MAPPED_FIELDS).requires(&["source"]);

const MAPPED_FIELDS: &[Field] = &[
    field("source", Shape::Text),
    field("target", Shape::Text),
    field("permissions", Shape::Checked(forms::permissions)),
];

const PROVIDER: Record = record("provider", PROVIDER_FIELDS).requires(&["type"]);

const PROVIDER_FIELDS: &[Field] = &[
    field("type", Shape::Text),
    field("options", Shape::Map(&Shape::Any)),
];

const ENV_FILE: Record = record("env_file", ENV_FILE_FIELDS).requires(&["path"]);

const ENV_FILE_FIELDS: &[Field] = &[
    field("path", Shape::Path),
    field("required", Shape::Bool),
    field("format", Shape::Choice(&["raw"])),
];

const EXTENDS: Record = record("extends", EXTENDS_FIELDS)
    .requires(&["service"])
    .without_extensions();

const EXTENDS_FIELDS: &[Field] = &[field("service", Shape::Text), field("file", Shape::Text)];

const HEALTH: Record = record("healthcheck", HEALTH_FIELDS);

const HEALTH_FIELDS: &[Field] = &[
    field("test", Shape::Form(forms::health_test, &TEXTS)).merge(Merge::Replace),
    field("timeout", Shape::Duration),
    field("interval", Shape::Duration),
    field("retries", COUNT),
    field("start_period", Shape::Duration),
    field("start_interval", Shape::Duration),
    field("disable", Shape::Bool),
];

const LOGGING: Record = record("logging", LOGGING_FIELDS);

const LOGGING_FIELDS: &[Field] = &[
    field("driver", Shape::Text),
    field("options", Shape::Map(&Shape::Nullable(&Shape::Value))),
];

const MODEL_USE: Record = record("model", MODEL_USE_FIELDS);

const MODEL_USE_FIELDS: &[Field] = &[
    field("endpoint_var", Shape::Text),
    field("model_var", Shape::Text),
];

const LINK: Record = record("network of a service", LINK_FIELDS);

const LINK_FIELDS: &[Field] = &[
    field("aliases", TEXTS),
    field("driver_opts", Shape::Map(&Shape::Value)),
    field("gw_priority", INT),
    field("interface_name", Shape::Text),
    field("ipv4_address", Shape::Checked(forms::ipv4)),
    field("ipv6_address", Shape::Checked(forms::ipv6)),
    field(
        "link_local_ips",
        Shape::List(&Shape::Checked(forms::address)),
    ),
    field("mac_address", Shape::Checked(forms::mac_address)),
    field("priority", INT),
];

const PORT: Record = record("port", PORT_FIELDS).requires(&["target"]);

const PORT_FIELDS: &[Field] = &[
    field("name", Shape::Text),
    field("mode", Shape::Choice(&["ingress", "host"])),
    field("host_ip", Shape::Checked(forms::address)),
    field("target", Shape::Int(1, 65_535)),
    field("published", Shape::Checked(forms::port_range)),
    field("protocol", Shape::Choice(&["tcp", "udp", "sctp"])),
    field("app_protocol", Shape::Text),
];

const MOUNT: Record = record("volume of a service", MOUNT_FIELDS).requires(&["type", "target"]);

const MOUNT_FIELDS: &[Field] = &[
    field(
        "type",
        Shape::Choice(&["bind", "volume", "tmpfs", "image", "cluster", "npipe"]),
    ),
    field("source", Shape::Text),
    field("target", Shape::Checked(forms::mount_target)),
    field("read_only", Shape::Bool),
    field("consistency", Shape::Text),
    field("bind", Shape::Record(&BIND)),
    field("volume", Shape::Record(&NAMED)),
    field("tmpfs", Shape::Record(&TMPFS)),
    field("image", Shape::Record(&IMAGE)),
];

const BIND: Record = record("bind", BIND_FIELDS);

const BIND_FIELDS: &[Field] = &[
    field("selinux", Shape::Choice(&["z", "Z"])),
    field(
        "propagation",
        Shape::Choice(&[
            "rprivate", "private", "rshared", "shared", "rslave", "slave",
        ]),
    ),
    field("create_host_path", Shape::Bool),
    field(
        "recursive",
        Shape::Choice(&["enabled", "disabled", "writable", "readonly"]),
    ),
];

const NAMED: Record = record("volume", NAMED_FIELDS);

const NAMED_FIELDS: &[Field] = &[
    field("labels", PAIRS),
    field("nocopy", Shape::Bool),
    field("subpath", Shape::Text),
];

const TMPFS: Record = record("tmpfs", TMPFS_FIELDS);

const TMPFS_FIELDS: &[Field] = &[field("size", Shape::Bytes), field("mode", Shape::Mode)];

const IMAGE: Record = record("image", IMAGE_FIELDS);

const IMAGE_FIELDS: &[Field] = &[field("subpath", Shape::Text)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_of_the_specification_is_there_once() {
        let mut keys: Vec<&str> = SERVICE.fields.iter().map(|field| field.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), SERVICE.fields.len());
    }
}

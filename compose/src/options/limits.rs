//! What a service may use.

use isola_runtime::workload::Options;

use crate::project::{Blkio, Bytes, DeviceRate, Service};

/// Limits of the service, else those of `deploy`; both are the same where both are
/// given.
pub(super) fn fill(service: &Service, options: &mut Options) {
    let resources = service.deploy.as_ref().map(|deploy| &deploy.resources);
    let limits = resources
        .and_then(|resources| resources.limits.clone())
        .unwrap_or_default();
    let kept = resources
        .and_then(|resources| resources.reservations.clone())
        .unwrap_or_default();
    let bytes = |size: Bytes| size.0.to_string();
    options.memory = service.mem_limit.or(limits.memory).map(bytes);
    options.memory_reservation = service.mem_reservation.or(kept.memory).map(bytes);
    options.memory_swap = service.memswap_limit.map(bytes);
    let cpus = service.cpus.or(limits.cpus).filter(|cpus| *cpus > 0.0);
    options.cpus = cpus.map(|cpus| format!("{}", (cpus * 1000.0).round() / 1000.0));
    options.cpu_quota = service.cpu_quota;
    options.cpu_period = service.cpu_period;
    options.cpuset_cpus = service.cpuset.clone();
    options.cpu_shares = service.cpu_shares.map(i64::from);
    options.pids_limit = service.pids_limit.or(limits.pids);
    options.cgroup_parent = service.cgroup_parent.clone();
    if let Some(block) = &service.blkio_config {
        self::block(block, options);
    }
}

fn block(block: &Blkio, options: &mut Options) {
    let rates = |rates: &[DeviceRate]| -> Vec<String> {
        let text = |it: &DeviceRate| format!("{}:{}", it.path, it.rate.0);
        rates.iter().map(text).collect()
    };
    let weights = block.weight_device.iter();
    options.blkio_weight = block.weight.map(i64::from);
    options.blkio_weight_device = weights
        .map(|it| format!("{}:{}", it.path, it.weight))
        .collect();
    options.device_read_bps = rates(&block.device_read_bps);
    options.device_write_bps = rates(&block.device_write_bps);
    options.device_read_iops = rates(&block.device_read_iops);
    options.device_write_iops = rates(&block.device_write_iops);
}

/// Options of an instance, and where a service has them.
const KEYS: &[(&str, &[&str])] = &[
    ("--blkio-weight", &["blkio_config", "weight"]),
    ("--blkio-weight-device", &["blkio_config", "weight_device"]),
    ("--cgroup-parent", &["cgroup_parent"]),
    ("--cpu-period", &["cpu_period"]),
    ("--cpu-quota", &["cpu_quota"]),
    ("--cpu-shares", &["cpu_shares"]),
    ("--cpus", &["cpus"]),
    ("--cpuset-cpus", &["cpuset"]),
    ("--device-cgroup-rule", &["device_cgroup_rules"]),
    ("--device-read-bps", &["blkio_config", "device_read_bps"]),
    ("--device-read-iops", &["blkio_config", "device_read_iops"]),
    ("--device-write-bps", &["blkio_config", "device_write_bps"]),
    (
        "--device-write-iops",
        &["blkio_config", "device_write_iops"],
    ),
    ("--memory", &["mem_limit"]),
    ("--memory-reservation", &["mem_reservation"]),
    ("--memory-swap", &["memswap_limit"]),
    ("--pids-limit", &["pids_limit"]),
    ("--platform", &["platform"]),
];

/// The keys of a service that an engine's error is about: it begins with the option.
/// None where that is not known.
pub fn keys_of(message: &str) -> &'static [&'static str] {
    let option = message.split([' ', ':']).next().unwrap_or_default();
    let found = KEYS.iter().find(|(known, _)| *known == option);
    found.map_or(&[], |(_, keys)| keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_lead_to_keys() {
        for (message, keys) in [
            ("--cpus \"9\": must be from", &["cpus"][..]),
            ("--memory 1k: too little", &["mem_limit"]),
            (
                "--device-read-bps \"/dev/x:1\": /dev/x",
                &["blkio_config", "device_read_bps"],
            ),
            ("--nosuch", &[]),
            ("the image is not here", &[]),
            ("", &[]),
        ] {
            assert_eq!(keys_of(message), keys, "{message}");
        }
    }
}

//! What `inspect` shows of an instance, under Docker's names.

use isola_runtime::engine::Instance;
use isola_runtime::state::{Health, State, Status};
use isola_runtime::workload::{
    BlockDevice, BlockIo, HealthCheck, Resources, Restart, UserMount, Workload, signal_name,
};
use isola_volume::Volumes;
use serde_json::{Map, Value, json};

use super::networks;
use crate::context::Context;
use crate::error::Result;
use crate::output::rfc3339;

/// Everything that is known about an instance.
pub(crate) fn details(context: &Context, instance: &Instance) -> Result<Value> {
    let files = context.engine()?.files(instance);
    let volumes = context.volumes()?;
    let links = context.links()?;
    let record = &instance.record;
    let workload = &record.workload;
    let mounts = workload
        .mounts
        .iter()
        .map(|mount| self::mount(mount, &volumes));
    Ok(json!({
        "Id": record.id,
        "Created": rfc3339(Some(record.created_ms)),
        "Path": workload.args.first(),
        "Args": workload.args.get(1..),
        "State": state(&instance.status),
        "Image": workload.image_id,
        "Name": record.name,
        "RestartCount": instance.status.restart_count,
        "Driver": "isola",
        "Platform": "linux",
        "LogPath": files.log(),
        "Isolation": workload.isolation.name(),
        "IsolationReason": record.isolation_reason,
        "HostConfig": host_config(workload),
        "Mounts": mounts.collect::<Vec<_>>(),
        "Config": config(workload),
        "NetworkSettings": networks::settings(instance, &links),
    }))
}

fn state(status: &Status) -> Value {
    let mut map = json!({
        "Status": status.state.as_str(),
        "Running": status.state.is_live(),
        "Paused": status.state == State::Paused,
        "Restarting": status.state == State::Restarting,
        "OOMKilled": status.oom_killed,
        "Dead": false,
        "Pid": status.pid.unwrap_or(0),
        "SupervisorPid": status.supervisor_pid.unwrap_or(0),
        "ExitCode": status.exit_code.unwrap_or(0),
        "Error": status.error.as_deref().unwrap_or_default(),
        "StartedAt": rfc3339(status.started_ms),
        "FinishedAt": rfc3339(status.finished_ms),
    });
    if let Some(health) = &status.health {
        map["Health"] = self::health(health);
    }
    map
}

fn health(health: &Health) -> Value {
    let runs = health.runs.iter().map(|run| {
        json!({
            "Start": rfc3339(Some(run.started_ms)),
            "End": rfc3339(Some(run.ended_ms)),
            "ExitCode": run.exit_code,
            "Output": run.output,
        })
    });
    json!({
        "Status": health.state.as_str(),
        "FailingStreak": health.failing_streak,
        "Log": runs.collect::<Vec<_>>(),
    })
}

/// As images have it: nanoseconds.
fn health_check(check: &HealthCheck) -> Value {
    let nanos = |millis: u64| millis.saturating_mul(1_000_000);
    json!({
        "Test": check.test,
        "Interval": nanos(check.interval_ms),
        "Timeout": nanos(check.timeout_ms),
        "StartPeriod": nanos(check.start_period_ms),
        "StartInterval": nanos(check.start_interval_ms),
        "Retries": check.retries,
    })
}

fn config(workload: &Workload) -> Value {
    let mut map = json!({
        "Hostname": workload.hostname,
        "Domainname": workload.domainname.as_deref().unwrap_or_default(),
        "User": workload.user,
        "AttachStdin": false,
        "Tty": workload.tty,
        "OpenStdin": workload.stdin_open,
        "Env": workload.env,
        "Cmd": workload.args,
        "Image": workload.image,
        "ExposedPorts": networks::exposed_ports(workload),
        "WorkingDir": workload.cwd,
        "Labels": workload.labels,
        "StopSignal": signal_name(workload.stop_signal),
        "StopTimeout": workload.stop_timeout,
    });
    if let Some(check) = &workload.health {
        map["Healthcheck"] = health_check(check);
    }
    map
}

fn host_config(workload: &Workload) -> Value {
    let security = &workload.security;
    let hosts: Vec<String> = workload
        .extra_hosts
        .iter()
        .map(|(name, at)| format!("{name}:{at}"))
        .collect();
    let sysctls: Map<String, Value> = workload
        .sysctls
        .iter()
        .map(|(k, v)| (k.clone(), v.as_str().into()))
        .collect();
    let devices = workload.devices.iter().map(
        |device| json!({"PathInContainer": device.node.path, "CgroupPermissions": device.access}),
    );
    let mut map = json!({
        "Binds": workload.binds,
        "VolumesFrom": workload.volumes_from,
        "NetworkMode": networks::network_mode(workload),
        "PortBindings": networks::port_bindings(workload),
        "Dns": workload.dns.servers,
        "DnsSearch": workload.dns.search,
        "DnsOptions": workload.dns.options,
        "RestartPolicy": restart(workload.restart),
        "AutoRemove": workload.auto_remove,
        "Init": workload.init,
        "ReadonlyRootfs": workload.read_only,
        "Privileged": security.privileged,
        "Capabilities": security.capabilities.bounding,
        "NoNewPrivileges": security.no_new_privileges,
        "Seccomp": !security.seccomp.is_empty(),
        "PidMode": unless_private(&workload.namespaces.pid),
        "IpcMode": workload.namespaces.ipc.to_string(),
        "UTSMode": unless_private(&workload.namespaces.uts),
        "CgroupnsMode": workload.namespaces.cgroup.to_string(),
        "UsernsMode": if security.userns.is_some() { "private" } else { "" },
        "MaskedPaths": security.masked_paths,
        "ReadonlyPaths": security.readonly_paths,
        "GroupAdd": workload.extra_groups,
        "ExtraHosts": hosts,
        "Sysctls": sysctls,
        "Devices": devices.collect::<Vec<_>>(),
        "DeviceCgroupRules": workload.device_rules,
        "Disk": workload.disk,
        "Annotations": workload.annotations,
        "LogConfig": {
            "Type": if workload.log.enabled { "json-file" } else { "none" },
            "Config": {"max-size": workload.log.max_size.to_string(), "max-file": workload.log.max_file.to_string()},
        },
    });
    if let (Value::Object(map), Value::Object(limits)) = (&mut map, limits(&workload.resources)) {
        map.extend(limits);
    }
    map
}

/// As Docker shows modes whose default has no name there.
fn unless_private(mode: &impl std::fmt::Display) -> String {
    match mode.to_string() {
        private if private == "private" => String::new(),
        other => other,
    }
}

/// Docker's 0 for no limit, -1 for unlimited swap.
fn limits(resources: &Resources) -> Value {
    let mut limits = plain_limits(resources);
    if let (Value::Object(all), Value::Object(block)) = (&mut limits, block(&resources.block)) {
        all.extend(block);
    }
    limits
}

fn block(block: &BlockIo) -> Value {
    let of = |key: &str, value: fn(&BlockDevice) -> Option<u64>| -> Vec<Value> {
        let devices = block.devices.iter();
        let shown = devices.filter_map(|it| Some(json!({"Path": it.path, key: value(it)?})));
        shown.collect()
    };
    json!({
        "BlkioWeight": block.weight.unwrap_or(0),
        "BlkioWeightDevice": of("Weight", |it| it.weight.map(u64::from)),
        "BlkioDeviceReadBps": of("Rate", |it| it.read_bps),
        "BlkioDeviceWriteBps": of("Rate", |it| it.write_bps),
        "BlkioDeviceReadIOps": of("Rate", |it| it.read_iops),
        "BlkioDeviceWriteIOps": of("Rate", |it| it.write_iops),
    })
}

fn plain_limits(resources: &Resources) -> Value {
    let swap = match resources.memory_swap {
        Some(u64::MAX) => json!(-1),
        other => json!(other.unwrap_or(0)),
    };
    let ulimits = resources.ulimits.iter().map(|limit| {
        json!({"Name": limit.resource, "Soft": unlimited(limit.soft), "Hard": unlimited(limit.hard)})
    });
    json!({
        "Memory": resources.memory.unwrap_or(0),
        "MemorySwap": swap,
        "MemoryReservation": resources.memory_reservation.unwrap_or(0),
        "MemorySwappiness": resources.memory_swappiness.map_or(-1, i64::from),
        "OomKillDisable": resources.oom_kill_disable,
        "CpuQuota": resources.cpu_quota.unwrap_or(0),
        "CpuPeriod": resources.cpu_period.unwrap_or(0),
        "NanoCpus": resources.cpus_milli.unwrap_or(0).saturating_mul(1_000_000),
        "CpuShares": resources.cpu_shares.unwrap_or(0),
        "CpusetCpus": resources.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": resources.cpuset_mems.as_deref().unwrap_or_default(),
        "CgroupParent": resources.cgroup_parent.as_deref().unwrap_or_default(),
        "VirtualCpus": resources.vcpus,
        "PidsLimit": resources.pids,
        "ShmSize": resources.shm_size,
        "OomScoreAdj": resources.oom_score_adj.unwrap_or(0),
        "Ulimits": ulimits.collect::<Vec<_>>(),
    })
}

fn unlimited(limit: u64) -> Value {
    match limit {
        u64::MAX => json!(-1),
        limit => json!(limit),
    }
}

fn restart(policy: Restart) -> Value {
    let (name, max) = match policy {
        Restart::No => ("no", 0),
        Restart::Always => ("always", 0),
        Restart::UnlessStopped => ("unless-stopped", 0),
        Restart::OnFailure { max } => ("on-failure", max),
    };
    json!({"Name": name, "MaximumRetryCount": max})
}

fn mount(mount: &UserMount, volumes: &Volumes) -> Value {
    match mount {
        UserMount::Bind {
            source,
            target,
            readonly,
            propagation,
            ..
        } => json!({
            "Type": "bind", "Source": source, "Destination": target, "Mode": "",
            "RW": !readonly, "Propagation": propagation,
        }),
        UserMount::Volume {
            name,
            target,
            readonly,
            subpath,
            ..
        } => {
            // It may be gone, or not made yet.
            let source = volumes.inspect(name, false).map(|volume| volume.mountpoint);
            let mut value = json!({
                "Type": "volume", "Name": name, "Source": source.unwrap_or_default(),
                "Destination": target, "Driver": "local", "Mode": "", "RW": !readonly,
                "Propagation": "",
            });
            if let Some(path) = subpath {
                value["Subpath"] = path.as_str().into();
            }
            value
        }
        UserMount::Tmpfs {
            target,
            data,
            readonly,
            ..
        } => json!({
            "Type": "tmpfs", "Source": "", "Destination": target, "Mode": data,
            "RW": !readonly, "Propagation": "",
        }),
    }
}

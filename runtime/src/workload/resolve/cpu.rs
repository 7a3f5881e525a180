//! CPU time, and which CPUs and memory nodes it is spent on.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use super::{Context, conflict, invalid};
use crate::error::Result;
use crate::workload::resources::Resources;
use crate::workload::units::{format_cpu_list, parse_cpu_list, parse_cpus};
use crate::workload::walls::Feature;

/// Range of a weight in the kernel.
const CPU_SHARES: RangeInclusive<i64> = 2..=262_144;
/// Range of a period in microseconds (sched-bwc.rst in the kernel's Documentation).
const PERIODS: RangeInclusive<i64> = 1_000..=1_000_000;
/// Range of a quota in microseconds (`MAX_BW` in the kernel's kernel/sched/sched.h).
const QUOTAS: RangeInclusive<i64> = 1_000..=(1 << 44) - 1;
/// Memory nodes that are there.
const NODES: &str = "/sys/devices/system/node/online";

/// Fills in all that is about CPUs.
pub(super) fn fill(cx: &Context<'_>, resources: &mut Resources) -> Result<()> {
    resources.cpus_milli = cpus(cx)?;
    resources.cpu_period = period(cx)?;
    resources.cpu_quota = quota(cx)?;
    for (flag, is_given) in [
        ("--cpu-period", resources.cpu_period.is_some()),
        ("--cpu-quota", resources.cpu_quota.is_some()),
    ] {
        if is_given && resources.cpus_milli.is_some() {
            let message =
                format!("--cpus and {flag} exclude each other: both say how much CPU time");
            return Err(
                conflict(message).hint("--cpus 1.5 is --cpu-quota 150000 per --cpu-period 100000")
            );
        }
    }
    let milli = resources.cpu_milli();
    resources.vcpus = cx.wall.defaults.vcpus.map(|default| match milli {
        // Whole CPUs round up; the part that is too much is taken off by a quota.
        Some(milli) => {
            let wanted = u32::try_from(milli.div_ceil(1000)).unwrap_or(u32::MAX);
            // More time than the host has is no reason for more CPUs.
            wanted.min(u32::try_from(cx.host.cpus.len()).unwrap_or(u32::MAX).max(1))
        }
        None => default,
    });
    resources.cpu_shares = shares(cx)?;
    resources.cpuset_cpus = cpuset(cx)?;
    resources.cpuset_mems = nodes(cx)?;
    Ok(())
}

fn cpus(cx: &Context<'_>) -> Result<Option<u64>> {
    let Some(text) = &cx.options.cpus else {
        return Ok(None);
    };
    let milli = parse_cpus(text).map_err(|why| invalid("--cpus", text, why))?;
    if milli == 0 && !text.trim().contains('.') {
        return Ok(None);
    }
    cx.wall.require(Feature::Cpus, &format!("--cpus {text}"))?;
    let most = cx.host.cpus.len() as u64 * 1000;
    if milli < 10 || milli > most {
        return Err(invalid(
            "--cpus",
            text,
            format!("must be from 0.01 to {}, as this host has", most / 1000),
        ));
    }
    Ok(Some(milli))
}

fn period(cx: &Context<'_>) -> Result<Option<u64>> {
    let Some(period) = cx.options.cpu_period.filter(|period| *period != 0) else {
        return Ok(None);
    };
    let flag = "--cpu-period";
    cx.wall
        .require(Feature::Cpus, &format!("{flag} {period}"))?;
    if !PERIODS.contains(&period) {
        let why = format!(
            "must be from {} to {} microseconds",
            PERIODS.start(),
            PERIODS.end()
        );
        return Err(invalid(flag, &period.to_string(), why)
            .hint("half a CPU is --cpu-quota 50000 per --cpu-period 100000"));
    }
    Ok(Some(period.unsigned_abs()))
}

fn quota(cx: &Context<'_>) -> Result<Option<u64>> {
    let given = cx.options.cpu_quota;
    let Some(quota) = given.filter(|quota| !matches!(quota, 0 | -1)) else {
        return Ok(None);
    };
    let flag = "--cpu-quota";
    cx.wall.require(Feature::Cpus, &format!("{flag} {quota}"))?;
    if !QUOTAS.contains(&quota) {
        let least = QUOTAS.start();
        let why = format!("must be at least {least} microseconds, or -1 for no limit");
        return Err(invalid(flag, &quota.to_string(), why)
            .hint("half a CPU is --cpu-quota 50000 per --cpu-period 100000"));
    }
    Ok(Some(quota.unsigned_abs()))
}

fn shares(cx: &Context<'_>) -> Result<Option<u64>> {
    let Some(shares) = cx.options.cpu_shares.filter(|shares| *shares != 0) else {
        return Ok(None);
    };
    cx.wall
        .require(Feature::CpuShares, &format!("--cpu-shares {shares}"))?;
    if !CPU_SHARES.contains(&shares) {
        let why = format!(
            "must be from {} to {}",
            CPU_SHARES.start(),
            CPU_SHARES.end()
        );
        return Err(invalid("--cpu-shares", &shares.to_string(), why));
    }
    Ok(Some(shares.unsigned_abs()))
}

fn cpuset(cx: &Context<'_>) -> Result<Option<String>> {
    let Some(text) = cx
        .options
        .cpuset_cpus
        .as_deref()
        .filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    cx.wall
        .require(Feature::CpusetCpus, &format!("--cpuset-cpus {text}"))?;
    let set = parse_cpu_list(text).map_err(|why| invalid("--cpuset-cpus", text, why))?;
    if !set.is_subset(&cx.host.cpus) {
        let why = format!("this host has the CPUs {}", format_cpu_list(&cx.host.cpus));
        return Err(invalid("--cpuset-cpus", text, why));
    }
    Ok(Some(format_cpu_list(&set)))
}

fn nodes(cx: &Context<'_>) -> Result<Option<String>> {
    let given = cx.options.cpuset_mems.as_deref();
    let Some(text) = given.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let flag = "--cpuset-mems";
    cx.wall
        .require(Feature::CpusetMems, &format!("{flag} {text}"))?;
    let set = parse_cpu_list(text).map_err(|_| {
        let hint = "`lscpu` lists nodes and their CPUs";
        invalid(flag, text, "not a list of memory nodes, such as 0-1,3").hint(hint)
    })?;
    let there = cx.host.files.read(Path::new(NODES), 4096);
    let there = there.ok().and_then(|text| String::from_utf8(text).ok());
    // A kernel without NUMA has one node and no list of them.
    let there = there.and_then(|text| parse_cpu_list(text.trim()).ok());
    let there = there.unwrap_or_else(|| BTreeSet::from([0]));
    if !set.is_subset(&there) {
        let why = format!("this host has the memory nodes {}", format_cpu_list(&there));
        return Err(invalid(flag, text, why).hint("`lscpu` lists nodes and their CPUs"));
    }
    Ok(Some(format_cpu_list(&set)))
}

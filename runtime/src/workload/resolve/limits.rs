//! Memory, processes and disk.

use super::{Context, conflict, invalid};
use crate::cgroup::check_parent;
use crate::error::{Error, Kind, Result};
use crate::workload::resources::{Disk, Resources};
use crate::workload::units::{format_size, parse_size};
use crate::workload::walls::Feature;

/// Docker's size of /dev/shm.
const SHM_SIZE: u64 = 64 << 20;
/// Least size of a disk in which a file system has room for itself.
const MIN_DISK: u64 = 16 << 20;

pub(super) fn resources(cx: &Context<'_>) -> Result<Resources> {
    let memory = memory(cx)?;
    let mut resources = Resources {
        memory,
        memory_swap: memory_swap(cx, memory)?,
        memory_reservation: memory_reservation(cx, memory)?,
        memory_swappiness: swappiness(cx)?,
        oom_kill_disable: oom_kill_disable(cx, memory)?,
        block: super::block::block(cx)?,
        pids: pids(cx)?,
        shm_size: shm_size(cx)?,
        ulimits: super::lists::ulimits(cx)?,
        oom_score_adj: oom_score_adj(cx)?,
        cgroup_parent: cgroup_parent(cx)?,
        ..Resources::default()
    };
    super::cpu::fill(cx, &mut resources)?;
    Ok(resources)
}

pub(super) fn size(flag: &str, text: &str) -> Result<u64> {
    parse_size(text).map_err(|why| {
        invalid(flag, text, why).hint("sizes are numbers with b, k, m or g, as in 512m")
    })
}

fn memory(cx: &Context<'_>) -> Result<Option<u64>> {
    let text = cx.options.memory.as_deref();
    let said = text
        .map(|text| size("--memory", text))
        .transpose()?
        .filter(|bytes| *bytes != 0);
    let Some(bytes) = said.or(cx.wall.defaults.memory) else {
        return Ok(None);
    };
    let wrong = |why: String| match text.filter(|_| said.is_some()) {
        Some(text) => invalid("--memory", text, why),
        None => {
            let takes = format!(
                "isolation {} takes {} unless told",
                cx.wall.isolation,
                format_size(bytes)
            );
            Error::new(Kind::Invalid, format!("{takes}: {why}"))
                .hint("give another size with --memory")
        }
    };
    if let Some(text) = text.filter(|_| said.is_some()) {
        cx.wall
            .require(Feature::Memory, &format!("--memory {text}"))?;
    }
    let least = cx.wall.defaults.min_memory;
    if bytes < least {
        return Err(wrong(format!(
            "isolation {} needs at least {}",
            cx.wall.isolation,
            format_size(least)
        )));
    }
    if bytes > cx.host.memory {
        return Err(wrong(format!(
            "this host has {}",
            format_size(cx.host.memory)
        )));
    }
    Ok(Some(bytes))
}

/// Memory and swap together. Like Docker, a limit of memory alone allows as much
/// swap again, where swap can be limited at all.
fn memory_swap(cx: &Context<'_>, memory: Option<u64>) -> Result<Option<u64>> {
    let text = match cx.options.memory_swap.as_deref() {
        Some(text) if text.trim() != "0" => text,
        _ if cx.wall.has(Feature::MemorySwap) => {
            return Ok(memory.map(|bytes| bytes.saturating_mul(2)));
        }
        _ => return Ok(None),
    };
    cx.wall
        .require(Feature::MemorySwap, &format!("--memory-swap {text}"))?;
    let Some(memory) = memory else {
        return Err(conflict(
            "--memory-swap needs --memory: it is the limit of both together",
        ));
    };
    if text.trim() == "-1" {
        return Ok(Some(u64::MAX));
    }
    let bytes = size("--memory-swap", text)?;
    if bytes < memory {
        return Err(conflict(format!(
            "--memory-swap {text} is less than --memory, which it includes"
        )));
    }
    Ok(Some(bytes))
}

fn memory_reservation(cx: &Context<'_>, memory: Option<u64>) -> Result<Option<u64>> {
    let Some(text) = &cx.options.memory_reservation else {
        return Ok(None);
    };
    let bytes = size("--memory-reservation", text)?;
    if bytes == 0 {
        return Ok(None);
    }
    cx.wall.require(
        Feature::MemoryReservation,
        &format!("--memory-reservation {text}"),
    )?;
    if memory.is_some_and(|memory| bytes > memory) {
        return Err(conflict(format!(
            "--memory-reservation {text} is more than --memory"
        )));
    }
    Ok(Some(bytes))
}

/// How readily its memory is swapped out; -1 is what the host does.
fn swappiness(cx: &Context<'_>) -> Result<Option<u8>> {
    let Some(value) = cx.options.memory_swappiness.filter(|value| *value != -1) else {
        return Ok(None);
    };
    let flag = "--memory-swappiness";
    cx.wall
        .require(Feature::Swappiness, &format!("{flag} {value}"))?;
    match u8::try_from(value) {
        Ok(value @ 0..=100) => Ok(Some(value)),
        _ => {
            let why = "must be from 0 to 100, or -1 for the host's";
            let hint = "0 swaps as little as can be, 100 as readily as files are dropped";
            Err(invalid(flag, &value.to_string(), why).hint(hint))
        }
    }
}

fn oom_kill_disable(cx: &Context<'_>, memory: Option<u64>) -> Result<bool> {
    if !cx.options.oom_kill_disable {
        return Ok(false);
    }
    let flag = "--oom-kill-disable";
    cx.wall.require(Feature::OomKillDisable, flag)?;
    if memory.is_none() {
        let message = format!("{flag} needs --memory: nothing else could run out in its cgroup");
        return Err(conflict(message).hint("add a limit, as in --memory 512m"));
    }
    Ok(true)
}

fn pids(cx: &Context<'_>) -> Result<Option<u64>> {
    match cx.options.pids_limit {
        None | Some(0 | -1) => Ok(None),
        Some(limit) if limit > 0 => {
            cx.wall
                .require(Feature::PidsLimit, &format!("--pids-limit {limit}"))?;
            Ok(Some(limit.unsigned_abs()))
        }
        Some(limit) => Err(invalid(
            "--pids-limit",
            &limit.to_string(),
            "must be a number, or -1 for no limit",
        )),
    }
}

fn shm_size(cx: &Context<'_>) -> Result<u64> {
    let Some(text) = &cx.options.shm_size else {
        return Ok(SHM_SIZE);
    };
    cx.wall
        .require(Feature::ShmSize, &format!("--shm-size {text}"))?;
    match size("--shm-size", text)? {
        0 => Ok(SHM_SIZE),
        bytes => Ok(bytes),
    }
}

fn oom_score_adj(cx: &Context<'_>) -> Result<Option<i32>> {
    let Some(score) = cx.options.oom_score_adj else {
        return Ok(None);
    };
    cx.wall
        .require(Feature::OomScoreAdj, &format!("--oom-score-adj {score}"))?;
    if !(-1000..=1000).contains(&score) {
        return Err(invalid(
            "--oom-score-adj",
            &score.to_string(),
            "must be from -1000 to 1000",
        ));
    }
    if score < 0 && !cx.wall.own_kernel && !cx.host.has_capability("CAP_SYS_RESOURCE") {
        let message = format!(
            "--oom-score-adj {score}: the tool itself lacks CAP_SYS_RESOURCE, which lowering it takes"
        );
        return Err(Error::new(Kind::Unsupported, message));
    }
    Ok(Some(score))
}

fn cgroup_parent(cx: &Context<'_>) -> Result<Option<String>> {
    let Some(text) = cx.options.cgroup_parent.as_deref() else {
        return Ok(None);
    };
    let flag = "--cgroup-parent";
    let path = check_parent(text).map_err(|(why, hint)| invalid(flag, text, why).hint(hint))?;
    if path.is_some() {
        cx.wall
            .require(Feature::CgroupParent, &format!("{flag} {text}"))?;
    }
    Ok(path)
}

pub(super) fn disk(cx: &Context<'_>) -> Result<Option<Disk>> {
    let Some(text) = &cx.options.disk else {
        return Ok(cx
            .wall
            .defaults
            .disk
            .map(|size| Disk { size, thick: false }));
    };
    cx.wall.require(Feature::Disk, &format!("--disk {text}"))?;
    let (thick, amount) = match text.split_once(':') {
        Some(("thick", amount)) => (true, amount),
        Some(("thin", amount)) => (false, amount),
        Some(_) => {
            return Err(invalid(
                "--disk",
                text,
                "must be SIZE, thin:SIZE or thick:SIZE",
            ));
        }
        None => (false, text.as_str()),
    };
    let bytes = parse_size(amount).map_err(|why| invalid("--disk", text, why))?;
    if bytes < MIN_DISK {
        return Err(invalid(
            "--disk",
            text,
            format!("must be at least {}", format_size(MIN_DISK)),
        ));
    }
    // Whole blocks of 4096 bytes.
    Ok(Some(Disk {
        size: bytes.next_multiple_of(4096),
        thick,
    }))
}

//! User namespaces.

use isola_proto::spec::{IdMap, IdMaps};

use super::{Context, conflict, invalid, shared_network};
use crate::error::Result;
use crate::workload::model::Network;
use crate::workload::walls::Feature;

/// Ranges that one mapping may have (user_namespaces(7), since Linux 4.15).
const MAX_RANGES: usize = 340;

/// `host`, `auto` (or `private`), or ranges `INSIDE:OUTSIDE:SIZE[,...]` that
/// hold for users and groups. `host` maps none, which is how it is in a guest
/// anyway: every wall takes it.
pub(super) fn userns(cx: &Context<'_>, network: &Network) -> Result<Option<IdMaps>> {
    let text = match cx.options.userns.as_deref() {
        None | Some("" | "host") => return Ok(None),
        Some(text) => text,
    };
    cx.wall
        .require(Feature::UserNamespace, &format!("--userns {text}"))?;
    if cx.options.privileged {
        return Err(conflict(format!(
            "--privileged and --userns {text} contradict each other"
        )));
    }
    if let Some(shared) = shared_network(network) {
        // sysfs shows the network, and only the owner of a network namespace
        // may mount it.
        return Err(conflict(format!(
            "--network {shared} can't be had with --userns {text}"
        )));
    }
    if matches!(text, "auto" | "private") {
        return Ok(Some(cx.host.subordinate.clone()));
    }
    let ranges = text
        .split(',')
        .map(|range| parse_range(text, range))
        .collect::<Result<Vec<_>>>()?;
    if ranges.len() > MAX_RANGES {
        return Err(invalid(
            "--userns",
            text,
            format!("more than {MAX_RANGES} ranges"),
        ));
    }
    for (index, range) in ranges.iter().enumerate() {
        let overlap = |a: u32, b: u32, other: &IdMap| {
            u64::from(a) < u64::from(b) + u64::from(other.size)
                && u64::from(b) < u64::from(a) + u64::from(range.size)
        };
        let clash = |other: &IdMap| {
            overlap(range.inside, other.inside, other)
                || overlap(range.outside, other.outside, other)
        };
        if ranges[..index].iter().any(clash) {
            return Err(invalid("--userns", text, "ranges overlap"));
        }
    }
    if !ranges.iter().any(|range| range.inside == 0) {
        return Err(invalid(
            "--userns",
            text,
            "id 0 must be mapped: the instance is set up as root",
        ));
    }
    Ok(Some(IdMaps {
        uids: ranges.clone(),
        gids: ranges,
    }))
}

fn parse_range(text: &str, range: &str) -> Result<IdMap> {
    let wrong = || {
        invalid(
            "--userns",
            text,
            "must be host, auto or INSIDE:OUTSIDE:SIZE[,...]",
        )
    };
    let numbers: Vec<u32> = range
        .split(':')
        .map(|n| n.parse().map_err(|_| wrong()))
        .collect::<Result<_>>()?;
    let [inside, outside, size] = numbers[..] else {
        return Err(wrong());
    };
    // The last id of all, 2^32-1, means "no id".
    let fits = |first: u32| first.checked_add(size).is_some();
    if size == 0 || !fits(inside) || !fits(outside) {
        return Err(invalid(
            "--userns",
            text,
            format!("the range {range:?} is empty or goes beyond the last id"),
        ));
    }
    Ok(IdMap {
        inside,
        outside,
        size,
    })
}

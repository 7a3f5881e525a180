//! Resource limits of processes, and sysctls.

use std::collections::BTreeMap;

use isola_proto::spec::Rlimit;

use super::{Context, conflict, invalid, shared_network};
use crate::error::{Error, Kind, Result};
use crate::workload::model::Network;
use crate::workload::namespaces::{IpcMode, NamespaceModes};
use crate::workload::walls::Feature;

/// Names of resources as Docker's `--ulimit` has them (getrlimit(2) without
/// RLIMIT_, in lower case). RLIMIT_AS is left out there, and here it is `as`.
const RESOURCES: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// Open files when the user says nothing. Without a value of its own an instance
/// would inherit whatever the shell had in which it was started.
const NOFILE: (u64, u64) = (1024, 524_288);

pub(super) fn ulimits(cx: &Context<'_>) -> Result<Vec<Rlimit>> {
    let mut limits = BTreeMap::new();
    let hard_limit = |name: &str| match cx.wall.own_kernel {
        true => u64::MAX,
        false => cx.host.hard_limits.get(name).copied().unwrap_or(u64::MAX),
    };
    let most = hard_limit("nofile");
    limits.insert("nofile", (NOFILE.0.min(most), NOFILE.1.min(most)));
    for text in &cx.options.ulimit {
        cx.wall
            .require(Feature::Ulimits, &format!("--ulimit {text}"))?;
        let (name, soft, hard) = parse_ulimit(text)?;
        let most = hard_limit(name);
        if hard > most && !cx.wall.own_kernel && !cx.host.has_capability("CAP_SYS_RESOURCE") {
            let message = format!(
                "--ulimit {text:?}: the tool's own hard limit is {most}, and it lacks CAP_SYS_RESOURCE to raise it"
            );
            return Err(Error::new(Kind::Unsupported, message));
        }
        limits.insert(name, (soft, hard));
    }
    let rlimit = |(name, (soft, hard)): (&str, (u64, u64))| Rlimit {
        resource: name.to_owned(),
        soft,
        hard,
    };
    Ok(limits.into_iter().map(rlimit).collect())
}

/// `NAME=SOFT[:HARD]`; -1 is no limit, and the soft value stands for both.
fn parse_ulimit(text: &str) -> Result<(&'static str, u64, u64)> {
    let Some((name, values)) = text.split_once('=') else {
        return Err(invalid(
            "--ulimit",
            text,
            "not of the form NAME=SOFT[:HARD]",
        ));
    };
    let Some(name) = RESOURCES.iter().find(|known| **known == name) else {
        return Err(invalid(
            "--ulimit",
            text,
            format!("no limit {name:?}; there are {}", RESOURCES.join(", ")),
        ));
    };
    let value = |number: &str| match number {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ if number.bytes().all(|b| b.is_ascii_digit()) => number
            .parse()
            .map_err(|_| invalid("--ulimit", text, format!("{number:?} is not a limit"))),
        _ => Err(invalid(
            "--ulimit",
            text,
            format!("{number:?} is not a limit"),
        )),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(soft)?, value(hard)?);
    if soft > hard {
        return Err(invalid(
            "--ulimit",
            text,
            "the soft limit is above the hard limit",
        ));
    }
    Ok((name, soft, hard))
}

/// Sysctls that have a value of their own in each IPC namespace
/// (ipc_namespaces(7)).
const IPC_SYSCTLS: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Sysctls that belong to one namespace; any other would change the whole host.
pub(super) fn sysctls(
    cx: &Context<'_>,
    network: &Network,
    namespaces: &NamespaceModes,
) -> Result<Vec<(String, String)>> {
    let mut sysctls = BTreeMap::new();
    for text in &cx.options.sysctl {
        cx.wall
            .require(Feature::Sysctls, &format!("--sysctl {text}"))?;
        let Some((name, value)) = text.split_once('=') else {
            return Err(invalid("--sysctl", text, "not of the form NAME=VALUE"));
        };
        let part = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        if !name.split('.').all(part) {
            return Err(invalid(
                "--sysctl",
                text,
                format!("{name:?} is not a name of words with dots between"),
            ));
        }
        if value.contains(['\0', '\n']) {
            return Err(invalid("--sysctl", text, "the value must be one line"));
        }
        if name.starts_with("net.") {
            if let Some(shared) = shared_network(network) {
                return Err(conflict(format!(
                    "--sysctl {name} with --network {shared} would change a network that is not its own"
                )));
            }
        } else if !name.starts_with("fs.mqueue.")
            && !IPC_SYSCTLS.contains(&name)
            && name != "kernel.domainname"
        {
            let message = format!("--sysctl {name}: it has no value of its own in a namespace");
            let hint = format!(
                "there are net.*, fs.mqueue.*, {}, kernel.domainname",
                IPC_SYSCTLS.join(", ")
            );
            return Err(Error::new(Kind::Unsupported, message).hint(hint));
        }
        let ipc = &namespaces.ipc;
        if matches!(ipc, IpcMode::Host | IpcMode::Instance(_))
            && (name.starts_with("fs.mqueue.") || IPC_SYSCTLS.contains(&name))
        {
            return Err(conflict(format!(
                "--sysctl {name} with --ipc {ipc} would change an IPC namespace that is not its own"
            )));
        }
        sysctls.insert(name.to_owned(), value.to_owned());
    }
    Ok(sysctls.into_iter().collect())
}

//! Capabilities, seccomp, masked paths and the like.

use std::collections::BTreeSet;
use std::path::Path;

use isola_proto::spec::Capabilities;

use super::{Context, conflict, invalid, userns};
use crate::error::{Error, Kind, Result};
use crate::seccomp::{self, Grants};
use crate::workload::model::{Network, Security};
use crate::workload::walls::Feature;

/// All capabilities by number (capabilities(7)).
const ALL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What Docker grants when nothing is said.
const DEFAULT: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Hidden, as Docker hides them: they tell of the host's hardware and kernel.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Readable only, as Docker has them: writing would act on the host.
const READONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The kernel that guests are promised at least, for `minKernel` of a profile.
const GUEST_KERNEL: (u32, u32) = (6, 1);

pub(super) fn security(cx: &Context<'_>, network: &Network) -> Result<Security> {
    let privileged = cx.options.privileged;
    if privileged {
        cx.wall.require(Feature::Privileged, "--privileged")?;
    }
    let said = security_options(cx)?;
    let available: Vec<String> = match cx.wall.own_kernel {
        true => ALL.iter().map(|name| (*name).to_owned()).collect(),
        false => cx.host.capabilities.clone(),
    };
    let granted = granted(cx, &available)?;
    let seccomp = filter(cx, &said.seccomp, &granted)?;
    let (masked_paths, readonly_paths) = match privileged || said.systempaths_unconfined {
        true => (Vec::new(), Vec::new()),
        false => (
            masked(cx),
            READONLY.iter().map(|path| (*path).to_owned()).collect(),
        ),
    };
    Ok(Security {
        privileged,
        capabilities: Capabilities {
            bounding: granted.clone(),
            effective: granted.clone(),
            permitted: granted,
            // Empty, so that a file's inheritable set gives an unprivileged user
            // nothing (CVE-2022-24769).
            inheritable: Vec::new(),
            ambient: Vec::new(),
        },
        available,
        // What --privileged is for includes programs that gain privileges.
        no_new_privileges: said.no_new_privileges.unwrap_or(!privileged),
        seccomp,
        userns: userns::userns(cx, network)?,
        masked_paths,
        readonly_paths,
    })
}

/// The masked paths; of those that exist per CPU, the ones that are there.
fn masked(cx: &Context<'_>) -> Vec<String> {
    let throttle = |cpu: &u32| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
    let present = |path: &String| cx.host.files.stat(Path::new(path)).is_ok();
    let per_cpu = cx.host.cpus.iter().map(throttle).filter(present);
    let mut paths: Vec<String> = MASKED.iter().map(|path| (*path).to_owned()).collect();
    if !cx.wall.own_kernel {
        paths.extend(per_cpu);
    }
    paths
}

/// What is granted, sorted by number of capability.
fn granted(cx: &Context<'_>, available: &[String]) -> Result<Vec<String>> {
    let options = cx.options;
    for (flag, list) in [
        ("--cap-add", &options.cap_add),
        ("--cap-drop", &options.cap_drop),
    ] {
        for name in list {
            cx.wall
                .require(Feature::LinuxCapabilities, &format!("{flag} {name}"))?;
        }
    }
    let add = names("--cap-add", &options.cap_add)?;
    let drop = names("--cap-drop", &options.cap_drop)?;
    let granted: BTreeSet<&str> = if add.all || options.privileged {
        let everything = ALL
            .iter()
            .filter(|name| available.iter().any(|have| have == *name));
        everything
            .copied()
            .filter(|name| !drop.names.contains(name))
            .collect()
    } else if drop.all {
        add.names.clone()
    } else {
        let kept = DEFAULT
            .iter()
            .copied()
            .filter(|name| !drop.names.contains(name));
        kept.chain(add.names.iter().copied()).collect()
    };
    if let Some(name) = granted
        .iter()
        .find(|name| !available.iter().any(|have| have == *name))
    {
        let message = if add.names.contains(*name) {
            format!("--cap-add {name}: the tool itself does not have it, so it can't be passed on")
        } else {
            format!("the tool itself lacks {name}, which instances have by default")
        };
        return Err(
            Error::new(Kind::Unsupported, message).hint(format!("without it: --cap-drop {name}"))
        );
    }
    Ok(ALL
        .iter()
        .filter(|name| granted.contains(*name))
        .map(|name| (*name).to_owned())
        .collect())
}

/// A list of capabilities, which may hold the word ALL.
struct Names {
    all: bool,
    names: BTreeSet<&'static str>,
}

fn names(flag: &str, list: &[String]) -> Result<Names> {
    let mut result = Names {
        all: false,
        names: BTreeSet::new(),
    };
    for text in list {
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if short == "ALL" {
            result.all = true;
            continue;
        }
        let known = ALL
            .iter()
            .find(|name| name.strip_prefix("CAP_") == Some(short));
        let known = known.ok_or_else(|| {
            let names: Vec<&str> = ALL
                .iter()
                .filter_map(|name| name.strip_prefix("CAP_"))
                .collect();
            invalid(flag, text, "no such capability")
                .hint(format!("there are ALL, {}", names.join(", ")))
        })?;
        result.names.insert(known);
    }
    Ok(result)
}

/// What `--security-opt` says.
#[derive(Default)]
struct SecurityOptions {
    seccomp: Option<String>,
    no_new_privileges: Option<bool>,
    systempaths_unconfined: bool,
}

fn security_options(cx: &Context<'_>) -> Result<SecurityOptions> {
    const FLAG: &str = "--security-opt";
    let mut said = SecurityOptions::default();
    for text in &cx.options.security_opt {
        let (key, value) = match text.find(['=', ':']) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text.as_str(), None),
        };
        match (key, value) {
            ("no-new-privileges", None | Some("true")) => said.no_new_privileges = Some(true),
            ("no-new-privileges", Some("false")) => said.no_new_privileges = Some(false),
            ("no-new-privileges", Some(_)) => {
                return Err(invalid(FLAG, text, "must be true or false"));
            }
            ("seccomp", Some(profile)) if !profile.is_empty() => {
                cx.wall
                    .require(Feature::Seccomp, &format!("{FLAG} {text}"))?;
                if said.seccomp.replace(profile.to_owned()).is_some() {
                    return Err(conflict("--security-opt seccomp is given twice"));
                }
            }
            ("systempaths", Some("unconfined")) => said.systempaths_unconfined = true,
            _ => {
                let message = format!("{FLAG} {text:?}: not supported");
                let hint = "there are seccomp=FILE|unconfined|builtin, no-new-privileges[=false], systempaths=unconfined";
                return Err(Error::new(Kind::Unsupported, message).hint(hint));
            }
        }
    }
    if said.no_new_privileges != Some(false) && !cx.options.privileged {
        cx.wall.require(
            Feature::NoNewPrivileges,
            "no-new-privileges, which is the default,",
        )?;
    }
    Ok(said)
}

/// The compiled filter; empty where none is wanted.
fn filter(
    cx: &Context<'_>,
    said: &Option<String>,
    granted: &[String],
) -> Result<Vec<isola_proto::spec::SockFilter>> {
    let kernel = if cx.wall.own_kernel {
        GUEST_KERNEL
    } else {
        cx.host.kernel
    };
    let grants = Grants {
        capabilities: granted,
        kernel,
    };
    match said.as_deref() {
        Some("unconfined") => Ok(Vec::new()),
        Some("builtin") => Ok(seccomp::default_filter(&grants)),
        // As in Docker: --privileged goes without a filter unless one is named.
        None if cx.options.privileged => Ok(Vec::new()),
        None if cx.wall.has(Feature::Seccomp) => Ok(seccomp::default_filter(&grants)),
        None => {
            let what = "the default seccomp filter";
            let refused = cx.wall.require(Feature::Seccomp, what);
            Err(refused
                .err()
                .unwrap_or_else(|| Error::new(Kind::Unsupported, what))
                .hint("run without one: --security-opt seccomp=unconfined"))
        }
        Some(path) => {
            let flag = "--security-opt seccomp";
            let text = cx.host.read_option_file(flag, path)?;
            seccomp::compile_profile(&text, &grants)
                .map_err(|error| Error::new(Kind::Invalid, format!("{flag}: {path}: {error}")))
        }
    }
}

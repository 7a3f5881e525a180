//! What this host has for each wall: the checks of `isola doctor`.

use std::path::{Path, PathBuf};
use std::process::Command;

use isola_kernel::Kernels;
use isola_runtime::backend::{self, guest};
use isola_runtime::engine::helper;
use isola_runtime::rootfs::probe_erofs;
use isola_runtime::state::Paths;
use isola_runtime::workload::{HostFacts, Isolation};
use serde_json::{Value, json};

use crate::output::binary_size;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there.
    Ok,
    /// It is not, and something is slower or refused without it.
    Warning,
    /// It is not, and the wall can't be put up without it.
    Missing,
}

impl Outcome {
    /// The word that is shown.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Missing => "missing",
        }
    }
}

/// One check.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// `host` or a wall.
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    /// What was found.
    pub(crate) detail: String,
    /// What helps.
    pub(crate) hint: Option<String>,
}

impl Check {
    fn new(
        group: &'static str,
        name: &'static str,
        outcome: Outcome,
        detail: impl Into<String>,
    ) -> Check {
        Check {
            group,
            name,
            outcome,
            detail: detail.into(),
            hint: None,
        }
    }

    /// Good, or `otherwise`.
    fn of(
        group: &'static str,
        name: &'static str,
        found: std::result::Result<String, (String, String)>,
        otherwise: Outcome,
    ) -> Check {
        match found {
            Ok(detail) => Check::new(group, name, Outcome::Ok, detail),
            Err((detail, hint)) => Check {
                hint: Some(hint),
                ..Check::new(group, name, otherwise, detail)
            },
        }
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "group": self.group, "check": self.name, "outcome": self.outcome.word(),
            "detail": self.detail, "hint": self.hint,
        })
    }
}

type Found = std::result::Result<String, (String, String)>;

fn missing(detail: impl Into<String>, hint: impl Into<String>) -> Found {
    Err((detail.into(), hint.into()))
}

/// Everything that is checked.
pub(crate) fn all(paths: &Paths, kernels: &Kernels) -> Vec<Check> {
    let mut checks = host(paths);
    checks.extend(container(paths));
    checks.extend(vm(paths));
    checks.extend(emulated(paths));
    for wall in ["vm", "emulated"] {
        checks.extend(guests(wall, kernels));
    }
    // Those of a wall stay together.
    checks.sort_by_key(|check| {
        ["host", "container", "vm", "emulated"]
            .iter()
            .position(|group| *group == check.group)
    });
    checks
}

/// What stands in the way of a wall.
pub(crate) fn obstacle(checks: &[Check], wall: Isolation) -> Option<&Check> {
    let concerns = |check: &&Check| check.group == "host" || check.group == wall.name();
    checks
        .iter()
        .filter(concerns)
        .find(|check| check.outcome == Outcome::Missing)
}

fn host(paths: &Paths) -> Vec<Check> {
    let root = paths.root();
    let space = match rustix::fs::statvfs(root) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} has {} free", root.display(), binary_size(free));
            match free < 1 << 30 {
                true => missing(
                    detail,
                    "images and disks of guests need room; --root names another folder",
                ),
                false => Ok(detail),
            }
        }
        Err(error) => missing(
            format!("{}: {error}", root.display()),
            "--root names another folder",
        ),
    };
    let root_user = match rustix::process::geteuid().is_root() {
        true => Ok("root".to_owned()),
        false => missing("an ordinary user", "run isola as root, as with sudo"),
    };
    let supervisor = program("isola-supervisor");
    let forward = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    let forward = match forward.trim() {
        "1" => Ok("on".to_owned()),
        _ => missing(
            "off",
            "of no matter for --network none and host; sysctl -w net.ipv4.ip_forward=1",
        ),
    };
    let firewall = match isola_net::foreign_drops() {
        Ok(found) if found.is_empty() => Ok("forwards".to_owned()),
        Ok(found) => missing(
            found
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
            "instances on bridges reach nothing beyond them: let that chain accept what comes from and goes to links named isola*",
        ),
        Err(error) => missing(error.to_string(), "bridged networks need nf_tables"),
    };
    vec![
        Check::of("host", "user", root_user, Outcome::Warning),
        Check::of("host", "data root", space, Outcome::Warning),
        Check::of("host", "supervisor", supervisor, Outcome::Missing),
        cgroups(),
        Check::of("host", "IP forwarding", forward, Outcome::Warning),
        Check::of("host", "other firewalls", firewall, Outcome::Warning),
    ]
}

fn cgroups() -> Check {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let kinds: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split_once(" - ")?.1.split(' ').next())
        .collect();
    let layout = match (kinds.contains(&"cgroup"), kinds.contains(&"cgroup2")) {
        (true, true) => "versions 1 and 2 (hybrid)",
        (true, false) => "version 1",
        (false, true) => "version 2",
        (false, false) => "not mounted",
    };
    let found = match HostFacts::read() {
        Err(error) => missing(
            format!("{layout}: {error}"),
            "mount cgroup2 on /sys/fs/cgroup",
        ),
        Ok(facts) => {
            let have = &facts.cgroups.controllers;
            let wanted = ["cpu", "cpuset", "memory", "pids"];
            let lacking: Vec<&str> = wanted
                .into_iter()
                .filter(|name| !have.iter().any(|have| have == name))
                .collect();
            match lacking.is_empty() {
                true => Ok(format!("{layout}, with {}", wanted.join(", "))),
                false => missing(
                    format!("{layout}, without {}", lacking.join(", ")),
                    "limits that need these are refused",
                ),
            }
        }
    };
    Check::of("host", "cgroups", found, Outcome::Warning)
}

fn container(paths: &Paths) -> Vec<Check> {
    let erofs = match probe_erofs() {
        true => Ok("layers are mounted as they are stored".to_owned()),
        false => missing(
            "not mountable",
            "layers are unpacked to folders: slower to load, more inodes; modprobe erofs",
        ),
    };
    let number = |path: &str| {
        std::fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    let users = match number("/proc/sys/user/max_user_namespaces") {
        0 => missing(
            "not available",
            "--userns is refused; sysctl -w user.max_user_namespaces=10000",
        ),
        most => Ok(format!("at most {most}")),
    };
    let seccomp = match Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        true => Ok("available".to_owned()),
        false => missing(
            "not available",
            "system calls can't be filtered: the kernel needs CONFIG_SECCOMP_FILTER",
        ),
    };
    vec![
        usable(Isolation::Container, "namespaces and overlayfs", paths),
        Check::of("container", "EROFS", erofs, Outcome::Warning),
        Check::of("container", "user namespaces", users, Outcome::Warning),
        Check::of("container", "seccomp", seccomp, Outcome::Warning),
    ]
}

fn vm(paths: &Paths) -> Vec<Check> {
    vec![
        usable(Isolation::Vm, "KVM", paths),
        Check::of(
            "vm",
            "machine monitor",
            program("isola-vmm"),
            Outcome::Missing,
        ),
    ]
}

fn emulated(paths: &Paths) -> Vec<Check> {
    let mut checks = vec![usable(Isolation::Emulated, "QEMU", paths)];
    if let Some(version) = guest::find_qemu().as_deref().and_then(version_of) {
        checks[0].detail = version;
    }
    checks
}

/// What both walls with a kernel of their own need.
fn guests(wall: &'static str, kernels: &Kernels) -> Vec<Check> {
    let kernel = match kernels.default_kernel() {
        Ok(kernel) => Ok(kernel.name),
        Err(error) => missing(error.to_string(), error.hint().unwrap_or_default()),
    };
    let mkfs = match guest::mkfs() {
        Ok(path) => Ok(path.display().to_string()),
        Err(error) => missing(error.message, error.hint.unwrap_or_default()),
    };
    vec![
        Check::of(wall, "agent", program("isola-agent"), Outcome::Missing),
        Check::of(wall, "guest kernel", kernel, Outcome::Missing),
        Check::of(wall, "mkfs.ext4", mkfs, Outcome::Missing),
    ]
}

fn usable(wall: Isolation, name: &'static str, paths: &Paths) -> Check {
    let found = match backend::of(wall).map(|backend| backend.probe(paths)) {
        Ok(Ok(())) => Ok("usable".to_owned()),
        Ok(Err(unusable)) => Err((unusable.reason, unusable.hint.unwrap_or_default())),
        Err(error) => Err((error.message, error.hint.unwrap_or_default())),
    };
    Check::of(wall.name(), name, found, Outcome::Missing)
}

fn program(name: &str) -> Found {
    match helper(name) {
        Ok(path) => Ok(path.display().to_string()),
        Err(error) => Err((error.message, error.hint.unwrap_or_default())),
    }
}

/// The first line of `PROGRAM --version`.
fn version_of(program: &Path) -> Option<String> {
    let path: PathBuf = program.to_owned();
    let output = Command::new(path).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned)
}

//! Workload to the surroundings and processes that `isola-init` makes. Behind
//! every wall these are the same values; what a wall can't do was refused when
//! the workload was resolved.

use std::path::Path;

use isola_proto::spec::{
    Capabilities, Mount, MountSource, Namespaces, ProcessSpec, Program, RootSpec, SandboxSpec,
    TermSize, TextFile,
};

use super::host::HostFacts;
use super::model::{Network, UserMount, Workload};
use super::options::ExecOptions;
use super::resolve::{check_user, overlay_env, target_of, user_entries};
use crate::error::{Error, Kind, Result};

/// What is known only when an instance starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The host's /etc/hosts, for who shares the host's network.
    pub hosts: String,
    /// The host's /etc/resolv.conf, for who shares the host's network.
    pub resolv_conf: String,
    /// Size of the terminal, where one is wanted.
    pub terminal: TermSize,
}

/// The surroundings and first process of a workload.
pub fn sandbox_spec(workload: &Workload, surroundings: &Surroundings) -> SandboxSpec {
    SandboxSpec {
        root: RootSpec {
            hostname: Some(workload.hostname.clone()),
            domainname: workload.domainname.clone(),
            mounts: mounts(workload),
            devices: workload
                .devices
                .iter()
                .map(|device| device.node.clone())
                .collect(),
            masked_paths: workload.security.masked_paths.clone(),
            readonly_paths: workload.security.readonly_paths.clone(),
            sysctls: workload.sysctls.clone(),
            files: files(workload, surroundings),
            readonly: workload.read_only,
        },
        process: ProcessSpec {
            program: Program::Exec {
                args: workload.args.clone(),
            },
            env: workload.env.clone(),
            create_cwd: true,
            terminal: workload.tty.then_some(surroundings.terminal),
            stdin: workload.stdin_open,
            ..process(workload)
        },
        namespaces: Namespaces {
            pid: true,
            net: !matches!(workload.network, Network::Host),
            ipc: true,
            uts: true,
            cgroup: true,
            user: workload.security.userns.clone(),
        },
        init: workload.init,
    }
}

/// A further process in the surroundings of a workload.
///
/// # Errors
/// [`Kind::Invalid`]: no program, a file of variables that can't be read, a
/// folder that is not absolute, a user that can't be one.
pub fn exec_spec(
    workload: &Workload,
    options: &ExecOptions,
    host: &HostFacts<'_>,
    terminal: TermSize,
) -> Result<ProcessSpec> {
    let invalid = |message: String| Error::new(Kind::Invalid, message);
    if options.args.first().is_none_or(String::is_empty) {
        return Err(invalid("no program to run is named".to_owned()));
    }
    if let Some(arg) = options.args.iter().find(|arg| arg.contains('\0')) {
        return Err(invalid(format!(
            "argument {arg:?}: a NUL byte can't be passed to a program"
        )));
    }
    let mut env = workload.env.clone();
    if options.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    let mut spec = process(workload);
    if let Some(user) = &options.user {
        spec.user = check_user("--user", user)?;
    }
    if let Some(cwd) = &options.workdir {
        if !cwd.starts_with('/') || cwd.contains('\0') {
            return Err(invalid(format!(
                "--workdir {cwd:?}: the working directory must be an absolute path"
            )));
        }
        spec.cwd.clone_from(cwd);
    }
    if options.privileged {
        let all = workload.security.available.clone();
        spec.capabilities = Capabilities {
            bounding: all.clone(),
            effective: all.clone(),
            permitted: all,
            ..Default::default()
        };
        spec.no_new_privileges = false;
        spec.seccomp = Vec::new();
    }
    Ok(ProcessSpec {
        program: Program::Exec {
            args: options.args.clone(),
        },
        env: overlay_env(env, user_entries(&options.env_file, &options.env, host)?),
        terminal: options.tty.then_some(terminal),
        stdin: options.interactive,
        ..spec
    })
}

/// What the first and every further process of a workload have in common.
fn process(workload: &Workload) -> ProcessSpec {
    ProcessSpec {
        cwd: workload.cwd.clone(),
        user: workload.user.clone(),
        extra_groups: workload.extra_groups.clone(),
        capabilities: workload.security.capabilities.clone(),
        no_new_privileges: workload.security.no_new_privileges,
        rlimits: workload.resources.ulimits.clone(),
        seccomp: workload.security.seccomp.clone(),
        oom_score_adj: workload.resources.oom_score_adj,
        ..ProcessSpec::default()
    }
}

/// The standard mounts (OCI runtime specification, "Default Filesystems"), then
/// the user's, parents before children. A user's mount takes the place of the
/// standard ones at and below its target.
fn mounts(workload: &Workload) -> Vec<Mount> {
    let privileged = workload.security.privileged;
    let standard =
        |target: &str, source: MountSource, readonly: bool, nodev: bool, noexec: bool| Mount {
            target: target.to_owned(),
            source,
            readonly,
            nosuid: true,
            nodev,
            noexec,
        };
    let shm = MountSource::Tmpfs {
        data: format!("mode=1777,size={}", workload.resources.shm_size),
    };
    let mut mounts = vec![
        standard("/proc", MountSource::Proc, false, true, true),
        standard("/dev", MountSource::Dev, false, false, true),
        standard("/dev/mqueue", MountSource::Mqueue, false, true, true),
        standard("/dev/shm", shm, false, true, true),
        standard("/sys", MountSource::Sysfs, !privileged, true, true),
        standard(
            "/sys/fs/cgroup",
            MountSource::Cgroup,
            !privileged,
            true,
            true,
        ),
    ];
    let taken = |target: &str| {
        workload
            .mounts
            .iter()
            .any(|mount| Path::new(target).starts_with(target_of(mount)))
    };
    mounts.retain(|mount| !taken(&mount.target));
    let mut wanted: Vec<&UserMount> = workload.mounts.iter().collect();
    wanted.sort_by_key(|mount| target_of(mount).matches('/').count());
    mounts.extend(wanted.into_iter().map(user_mount));
    mounts
}

fn user_mount(mount: &UserMount) -> Mount {
    match mount.clone() {
        UserMount::Bind {
            source,
            target,
            readonly,
            propagation,
            recursive,
            create_source: _,
        } => Mount {
            target,
            source: MountSource::Bind {
                source,
                recursive,
                propagation,
            },
            readonly,
            nosuid: false,
            nodev: false,
            noexec: false,
        },
        UserMount::Tmpfs {
            target,
            data,
            readonly,
            noexec,
            nosuid,
            nodev,
        } => Mount {
            target,
            source: MountSource::Tmpfs { data },
            readonly,
            nosuid,
            nodev,
            noexec,
        },
    }
}

/// The files that tell a workload its names; a user's mount at the same place
/// goes before them.
fn files(workload: &Workload, surroundings: &Surroundings) -> Vec<TextFile> {
    let host_network = matches!(workload.network, Network::Host);
    let resolv_conf = match host_network {
        true => surroundings.resolv_conf.clone(),
        // Without a network there is no server to ask.
        false => String::new(),
    };
    let all = [
        ("/etc/hostname", format!("{}\n", workload.hostname)),
        (
            "/etc/hosts",
            hosts(
                workload,
                host_network.then_some(surroundings.hosts.as_str()),
            ),
        ),
        ("/etc/resolv.conf", resolv_conf),
    ];
    let free = |path: &str| !workload.mounts.iter().any(|mount| target_of(mount) == path);
    let file = |(path, content): (&str, String)| TextFile {
        path: path.to_owned(),
        content,
        mode: 0o644,
    };
    all.into_iter()
        .filter(|(path, _)| free(path))
        .map(file)
        .collect()
}

/// The content of /etc/hosts.
fn hosts(workload: &Workload, host: Option<&str>) -> String {
    let mut text = match host {
        Some(hosts) if hosts.is_empty() || hosts.ends_with('\n') => hosts.to_owned(),
        Some(hosts) => format!("{hosts}\n"),
        None => {
            let names = match &workload.domainname {
                Some(domain) => format!("{}.{domain} {}", workload.hostname, workload.hostname),
                None => workload.hostname.clone(),
            };
            format!(
                "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1 {names}\n"
            )
        }
    };
    for (name, address) in &workload.extra_hosts {
        text.push_str(&format!("{address} {name}\n"));
    }
    text
}

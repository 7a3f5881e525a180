//! Workload to the surroundings and processes that `isola-init` makes. Behind
//! every wall these are the same values; what a wall can't do was refused when
//! the workload was resolved.

use std::net::IpAddr;
use std::path::Path;

use isola_proto::spec::{
    Capabilities, Mount, MountSource, Namespaces, ProcessSpec, Program, RootSpec, SandboxSpec,
    TermSize, TextFile,
};

use super::host::HostFacts;
use super::model::{Network, UserMount, Workload};
use super::names;
use super::namespaces::{IpcMode, Own, PidMode};
use super::options::ExecOptions;
use super::resolve::{check_user, overlay_env, target_of, user_entries};
use crate::error::{Error, Kind, Result};

/// What is known only when an instance starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The host's /etc/hosts, for who shares the host's network.
    pub hosts: String,
    /// The host's /etc/resolv.conf: all of it for who shares the host's network, its
    /// search domains for the others.
    pub resolv_conf: String,
    /// Size of the terminal, where one is wanted.
    pub terminal: TermSize,
    /// Addresses of the links to networks, first network first.
    pub addresses: Vec<IpAddr>,
    /// Servers of names on these networks.
    pub nameservers: Vec<IpAddr>,
    /// The host as the first network sees it.
    pub host_gateway: Option<IpAddr>,
    /// Where the sources of the workload's mounts are behind the wall, in the order
    /// of [`Workload::mounts`]; nothing for a tmpfs.
    pub sources: Vec<Option<String>>,
}

/// The surroundings and first process of a workload.
pub fn sandbox_spec(workload: &Workload, surroundings: &Surroundings) -> SandboxSpec {
    let modes = &workload.namespaces;
    let named = modes.uts == Own::Private;
    SandboxSpec {
        root: RootSpec {
            hostname: named.then(|| workload.hostname.clone()),
            domainname: workload.domainname.clone().filter(|_| named),
            mounts: mounts(workload, &surroundings.sources),
            devices: workload
                .devices
                .iter()
                .map(|device| device.node.clone())
                .collect(),
            masked_paths: workload.security.masked_paths.clone(),
            readonly_paths: workload.security.readonly_paths.clone(),
            sysctls: workload.sysctls.clone(),
            files: name_files(workload, surroundings),
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
            pid: modes.pid == PidMode::Private,
            net: matches!(workload.network, Network::None | Network::Bridged(_)),
            ipc: !matches!(modes.ipc, IpcMode::Host | IpcMode::Instance(_)),
            uts: named,
            cgroup: modes.cgroup == Own::Private,
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
fn mounts(workload: &Workload, sources: &[Option<String>]) -> Vec<Mount> {
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
    let mut mounts = vec![
        standard("/proc", MountSource::Proc, false, true, true),
        standard("/dev", MountSource::Dev, false, false, true),
        standard("/dev/mqueue", MountSource::Mqueue, false, true, true),
        standard("/sys", MountSource::Sysfs, !privileged, true, true),
        standard(
            "/sys/fs/cgroup",
            MountSource::Cgroup,
            !privileged,
            true,
            true,
        ),
    ];
    if let Some(shm) = shm(workload) {
        // On /dev, which is mounted before it.
        mounts.insert(3, standard("/dev/shm", shm, false, true, true));
    }
    let taken = |target: &str| {
        workload
            .mounts
            .iter()
            .any(|mount| Path::new(target).starts_with(target_of(mount)))
    };
    mounts.retain(|mount| !taken(&mount.target));
    let found = sources.iter().chain(std::iter::repeat(&None));
    let mut wanted: Vec<_> = workload.mounts.iter().zip(found).collect();
    wanted.sort_by_key(|(mount, _)| target_of(mount).matches('/').count());
    mounts.extend(
        wanted
            .into_iter()
            .map(|(mount, found)| user_mount(mount, found.as_deref())),
    );
    mounts
}

/// What /dev/shm is: POSIX shared memory goes with the IPC namespace (shm_overview(7)).
fn shm(workload: &Workload) -> Option<MountSource> {
    Some(match &workload.namespaces.ipc {
        IpcMode::None => return None,
        IpcMode::Private | IpcMode::Shareable => MountSource::Tmpfs {
            data: format!("mode=1777,size={}", workload.resources.shm_size),
        },
        IpcMode::Host => MountSource::Bind {
            source: "/dev/shm".to_owned(),
            recursive: false,
            propagation: "rprivate".to_owned(),
        },
        IpcMode::Instance(_) => MountSource::JoinedShm,
    })
}

/// A mount that the user asked for; `found` is where its source is behind the wall,
/// if not where the user named it.
fn user_mount(mount: &UserMount, found: Option<&str>) -> Mount {
    let bind = |source: &str, target: String, readonly, recursive, propagation, nodev| Mount {
        target,
        source: MountSource::Bind {
            source: found.unwrap_or(source).to_owned(),
            recursive,
            propagation,
        },
        readonly,
        nosuid: false,
        nodev,
        noexec: false,
    };
    match mount.clone() {
        UserMount::Bind {
            source,
            target,
            readonly,
            propagation,
            recursive,
            create_source: _,
            cached: _,
        } => bind(&source, target, readonly, recursive, propagation, false),
        UserMount::Volume {
            name,
            target,
            readonly,
            ..
        } => bind(&name, target, readonly, true, "rprivate".to_owned(), true),
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
/// goes before them. Links that come and go while the workload runs change them.
pub fn name_files(workload: &Workload, surroundings: &Surroundings) -> Vec<TextFile> {
    let all = [
        ("/etc/hostname", format!("{}\n", workload.hostname)),
        ("/etc/hosts", names::hosts(workload, surroundings)),
        (
            "/etc/resolv.conf",
            names::resolv_conf(workload, surroundings),
        ),
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

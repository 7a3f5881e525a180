//! `--pid`, `--ipc`, `--uts` and `--cgroupns`: whose namespaces it is in.

use super::fields::check_name;
use super::{Context, conflict, invalid};
use crate::error::{Error, Result};
use crate::workload::namespaces::{IpcMode, NamespaceModes, Own, PidMode};
use crate::workload::walls::Feature;

pub(super) fn namespaces(cx: &Context<'_>) -> Result<NamespaceModes> {
    let modes = NamespaceModes {
        pid: pid(cx)?,
        ipc: ipc(cx)?,
        uts: own(cx, "--uts", cx.options.uts.as_deref(), Feature::SharedUts)?,
        cgroup: own(
            cx,
            "--cgroupns",
            cx.options.cgroupns.as_deref(),
            Feature::SharedCgroupns,
        )?,
    };
    check_userns(cx, &modes)?;
    check_others(cx, &modes)?;
    Ok(modes)
}

fn unknown(flag: &str, text: &str, there_are: &str) -> Error {
    invalid(flag, text, "no such mode").hint(format!("there are {there_are}"))
}

/// The instance after `container:`.
fn other<'a>(flag: &str, text: &'a str) -> Result<Option<&'a str>> {
    let Some(name) = text.strip_prefix("container:") else {
        return Ok(None);
    };
    check_name(name).map_err(|why| {
        invalid(flag, text, why).hint("write container:NAME; `isola ps` lists what runs")
    })?;
    Ok(Some(name))
}

fn pid(cx: &Context<'_>) -> Result<PidMode> {
    const FLAG: &str = "--pid";
    let text = match cx.options.pid.as_deref() {
        None | Some("" | "private") => return Ok(PidMode::Private),
        Some(text) => text,
    };
    let mode = match other(FLAG, text)? {
        Some(name) => PidMode::Instance(name.to_owned()),
        None if text == "host" => PidMode::Host,
        None => return Err(unknown(FLAG, text, "private, host and container:NAME")),
    };
    cx.wall
        .require(Feature::SharedPid, &format!("{FLAG} {text}"))?;
    Ok(mode)
}

fn ipc(cx: &Context<'_>) -> Result<IpcMode> {
    const FLAG: &str = "--ipc";
    let text = match cx.options.ipc.as_deref() {
        None | Some("" | "private") => return Ok(IpcMode::Private),
        Some("none") => return Ok(IpcMode::None),
        Some(text) => text,
    };
    let mode = match other(FLAG, text)? {
        Some(name) => IpcMode::Instance(name.to_owned()),
        None if text == "host" => IpcMode::Host,
        None if text == "shareable" => IpcMode::Shareable,
        None => {
            let modes = "private, shareable, none, host and container:NAME";
            return Err(unknown(FLAG, text, modes));
        }
    };
    cx.wall
        .require(Feature::SharedIpc, &format!("{FLAG} {text}"))?;
    Ok(mode)
}

fn own(cx: &Context<'_>, flag: &str, said: Option<&str>, feature: Feature) -> Result<Own> {
    match said {
        None | Some("" | "private") => Ok(Own::Private),
        Some("host") => {
            cx.wall.require(feature, &format!("{flag} host"))?;
            Ok(Own::Host)
        }
        Some(text) => Err(unknown(flag, text, "private and host")),
    }
}

/// The flag that shares a namespace, if one does.
fn shared(modes: &NamespaceModes) -> Option<String> {
    let pid = matches!(modes.pid, PidMode::Host | PidMode::Instance(_));
    let ipc = matches!(
        modes.ipc,
        IpcMode::Shareable | IpcMode::Host | IpcMode::Instance(_)
    );
    [
        (pid, "--pid", modes.pid.to_string()),
        (ipc, "--ipc", modes.ipc.to_string()),
        (modes.uts == Own::Host, "--uts", modes.uts.to_string()),
        (
            modes.cgroup == Own::Host,
            "--cgroupns",
            modes.cgroup.to_string(),
        ),
    ]
    .into_iter()
    .find_map(|(shared, flag, text)| shared.then(|| format!("{flag} {text}")))
}

/// A user namespace owns the namespaces that are made in it. Those of others belong to
/// the host's, and neither may their /proc, queues and cgroups be mounted nor do the
/// ids of two instances fit each other.
fn check_userns(cx: &Context<'_>, modes: &NamespaceModes) -> Result<()> {
    let Some(userns) = cx.options.userns.as_deref().filter(|it| *it != "host") else {
        return Ok(());
    };
    match shared(modes) {
        Some(flag) if !userns.is_empty() => Err(conflict(format!(
            "{flag} can't be had with --userns {userns}: a user namespace shares no others"
        ))
        .hint("leave one of the two flags out")),
        _ => Ok(()),
    }
}

/// Flags that would be without effect, or act on what is not its own.
fn check_others(cx: &Context<'_>, modes: &NamespaceModes) -> Result<()> {
    let options = cx.options;
    let sysctl = |name: &str| {
        let given = |text: &&String| text.split('=').next() == Some(name);
        options.sysctl.iter().any(|text| given(&text))
    };
    if modes.uts == Own::Host {
        for (flag, given) in [
            ("--hostname", options.hostname.is_some()),
            ("--domainname", options.domainname.is_some()),
            ("--sysctl kernel.domainname", sysctl("kernel.domainname")),
        ] {
            if given {
                let message =
                    format!("{flag} can't be had with --uts host: the names are the host's");
                return Err(conflict(message).hint("leave one of the two flags out"));
            }
        }
    }
    let without = match &modes.ipc {
        IpcMode::Private | IpcMode::Shareable => return Ok(()),
        IpcMode::None => "there is no /dev/shm then",
        IpcMode::Host => "/dev/shm is the host's",
        IpcMode::Instance(_) => "/dev/shm is the other instance's",
    };
    if options.shm_size.is_some() {
        let message = format!(
            "--shm-size can't be had with --ipc {}: {without}",
            modes.ipc
        );
        return Err(conflict(message).hint("leave one of the two flags out"));
    }
    Ok(())
}

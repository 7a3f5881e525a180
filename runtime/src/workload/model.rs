//! The resolved workload: the value that is written to an instance's record and
//! that every backend turns into a wall of its own kind.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use isola_net::ports::PortSpec;
use isola_proto::Mac;
use isola_proto::spec::{Capabilities, Device, IdMaps, SockFilter};
use serde::{Deserialize, Serialize};

use super::namespaces::NamespaceModes;
use super::resources::{Disk, Resources};
use crate::error::{Error, Kind, Result};

/// The wall around a workload (the compose specification's `isolation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Namespaces and cgroups on the host's kernel.
    Container,
    /// A guest kernel under our own machine monitor on KVM.
    Vm,
    /// The same guest under QEMU with a software CPU.
    Emulated,
}

impl Isolation {
    /// All walls, in the order in which they are shown.
    pub const ALL: [Isolation; 3] = [Isolation::Container, Isolation::Vm, Isolation::Emulated];

    /// The word that users write.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Container => "container",
            Isolation::Vm => "vm",
            Isolation::Emulated => "emulated",
        }
    }

    /// Walls between commas, in the order in which they are to be tried; a wall
    /// that comes twice counts once. `flag` is where the text is from.
    ///
    /// # Errors
    /// A word that is no wall, or no word at all.
    pub fn parse_list(flag: &str, text: &str) -> Result<Vec<Isolation>> {
        let mut walls = Vec::new();
        for word in text.split(',').map(str::trim) {
            let wall = Isolation::ALL
                .into_iter()
                .find(|wall| wall.name() == word)
                .ok_or_else(|| {
                    let message = format!(
                        "{flag} {text:?}: no such wall; there are container, vm and emulated"
                    );
                    Error::new(Kind::Invalid, message)
                        .hint("a list is tried in order, as in `vm,emulated`")
                })?;
            if !walls.contains(&wall) {
                walls.push(wall);
            }
        }
        Ok(walls)
    }
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What is to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// The chosen wall.
    pub isolation: Isolation,
    /// The image as the user named it.
    pub image: String,
    /// Its id: digest of the configuration, `sha256:...`.
    pub image_id: String,
    /// Entry point and command together; never empty.
    pub args: Vec<String>,
    /// Environment, KEY=VALUE, image first, the user's values over it.
    pub env: Vec<String>,
    /// Working directory; made when absent.
    pub cwd: String,
    /// User as in [`isola_proto::ProcessSpec::user`].
    pub user: String,
    /// Further groups.
    pub extra_groups: Vec<String>,
    /// Host name.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Lines added to /etc/hosts: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// A terminal is wanted (`-t`).
    pub tty: bool,
    /// Standard input is kept open (`-i`).
    pub stdin_open: bool,
    /// Put an init in front (`--init`).
    pub init: bool,
    /// Signal that asks it to end, as number.
    pub stop_signal: i32,
    /// Seconds between that signal and SIGKILL; `None` waits for ever.
    pub stop_timeout: Option<u64>,
    /// The root file system is read-only.
    pub read_only: bool,
    /// Mounts that the user asked for, in order.
    pub mounts: Vec<UserMount>,
    /// Those of them that `-v` named with a source, as Docker shows them:
    /// `SOURCE:TARGET[:OPTIONS]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<String>,
    /// Instances whose mounts it has (`--volumes-from`), with their modes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<String>,
    /// Devices that the user asked for.
    pub devices: Vec<UserDevice>,
    /// Further devices that its processes may open or make, by number, as
    /// [`crate::cgroup::DeviceRule`] shows and reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_rules: Vec<String>,
    /// Sysctls.
    pub sysctls: Vec<(String, String)>,
    /// Security settings.
    pub security: Security,
    /// Limits.
    pub resources: Resources,
    /// Size of the writable layer; `None` where the wall has no disk of its own.
    pub disk: Option<Disk>,
    /// How it is attached to networks.
    pub network: Network,
    /// Whose other namespaces it is in.
    #[serde(default, skip_serializing_if = "NamespaceModes::is_private")]
    pub namespaces: NamespaceModes,
    /// Where it asks for names.
    pub dns: Dns,
    /// Ports of the host that lead to its own.
    pub ports: Vec<PortSpec>,
    /// Ports that the image or the user names without publishing them, as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// When it is started again.
    pub restart: Restart,
    /// Remove the instance when it has ended (`--rm`).
    pub auto_remove: bool,
    /// Labels of image and user.
    pub labels: BTreeMap<String, String>,
    /// What the user notes down of it for other programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Log settings.
    pub log: LogOptions,
    /// How its health is found out, if at all.
    #[serde(default)]
    pub health: Option<HealthCheck>,
}

/// A mount that the user asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum UserMount {
    /// A path of the host.
    Bind {
        /// Absolute path on the host.
        source: String,
        /// Absolute path inside.
        target: String,
        /// Read-only.
        readonly: bool,
        /// Make the source folder when absent (`-v` does, `--mount` refuses).
        create_source: bool,
        /// Mount propagation, `rprivate` by default.
        propagation: String,
        /// Show submounts too; `readonly` then holds for them as well.
        recursive: bool,
        /// A guest may be a second behind what the host changes, and so read faster.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cached: bool,
    },
    /// A named volume.
    Volume {
        /// Its name; empty for an unnamed one until it is made.
        name: String,
        /// Absolute path inside.
        target: String,
        /// Read-only.
        readonly: bool,
        /// Do not fill an empty volume with what the image has at the target.
        nocopy: bool,
        /// A folder or file inside the volume instead of all of it.
        subpath: Option<String>,
        /// It was not named, and goes with the instance when that is asked for.
        anonymous: bool,
        /// Driver options (`volume-opt`) for when it has to be made.
        options: BTreeMap<String, String>,
        /// Labels (`volume-label`) for when it has to be made.
        labels: BTreeMap<String, String>,
        /// A guest may be a second behind what the host changes, and so read faster.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cached: bool,
    },
    /// A tmpfs.
    Tmpfs {
        /// Absolute path inside.
        target: String,
        /// Options for mount(2) beyond the flags, as `size=64m,mode=1777`.
        data: String,
        /// Read-only.
        readonly: bool,
        /// Programs may not be run from it (Docker's default is true).
        noexec: bool,
        /// Set-user-ID bits have no effect (true by default).
        nosuid: bool,
        /// Device nodes have no effect (true by default).
        nodev: bool,
    },
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserDevice {
    /// The node inside.
    pub node: Device,
    /// Any of `r`, `w`, `m` for the device cgroup.
    pub access: String,
}

/// Security settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Security {
    /// All capabilities, all devices, nothing masked.
    pub privileged: bool,
    /// The capability sets.
    pub capabilities: Capabilities,
    /// All that this wall could grant, for `exec --privileged`.
    pub available: Vec<String>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// Compiled filter; empty is none.
    pub seccomp: Vec<SockFilter>,
    /// A user namespace (`--userns`), container only.
    pub userns: Option<IdMaps>,
    /// Paths hidden.
    pub masked_paths: Vec<String>,
    /// Paths made read-only.
    pub readonly_paths: Vec<String>,
}

/// How an instance is attached to networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A namespace of its own with loopback only.
    None,
    /// The host's own; container only.
    Host,
    /// That of another instance, by id or name as the user said it; container only.
    Instance(String),
    /// A namespace (or guest) of its own with a link to each of these; may become
    /// empty when it is disconnected from all of them.
    Bridged(Vec<Attachment>),
}

/// What is wanted of the link to one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's name, or its id.
    pub network: String,
    /// Further names on this network.
    pub aliases: Vec<String>,
    /// A fixed IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// A fixed IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// A fixed hardware address.
    pub mac: Option<Mac>,
}

/// The network of an instance whose user names none; made when it is first used.
pub const DEFAULT_NETWORK: &str = "default";

/// Stands in [`Workload::extra_hosts`] for the host as the instance's network sees it.
pub const HOST_GATEWAY: &str = "host-gateway";

/// Where an instance asks for names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Servers that are asked for names which are not the network's own; the
    /// host's when empty.
    pub servers: Vec<IpAddr>,
    /// Domains that are tried after a short name; the host's when `None`.
    pub search: Option<Vec<String>>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
}

/// When an instance that ended is started again (docker run --restart).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Never.
    No,
    /// Always, and when the host starts.
    Always,
    /// Always but when it was stopped by hand.
    UnlessStopped,
    /// When the exit code is not 0.
    OnFailure {
        /// At most so often; 0 is without limit.
        max: u32,
    },
}

/// Log settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// Write a log at all (driver `json-file`; `none` writes nothing).
    pub enabled: bool,
    /// Rotate at this many bytes; 0 never.
    pub max_size: u64,
    /// Keep so many files, at least 1.
    pub max_file: u32,
}

/// A program that is run again and again behind the wall and tells by its exit
/// code whether the workload does its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// As Docker writes it: `CMD` and the program, or `CMD-SHELL` and a line.
    pub test: Vec<String>,
    /// Milliseconds from the end of a run to the next.
    pub interval_ms: u64,
    /// Milliseconds that a run may take.
    pub timeout_ms: u64,
    /// Milliseconds from the start in which failures do not count.
    pub start_period_ms: u64,
    /// Milliseconds between runs in that time.
    pub start_interval_ms: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

impl HealthCheck {
    /// The program and its arguments.
    pub fn args(&self) -> Vec<String> {
        match self.test.split_first() {
            Some((kind, rest)) if kind == "CMD-SHELL" => {
                let shell = ["/bin/sh", "-c"].map(str::to_owned);
                shell.into_iter().chain(rest.iter().cloned()).collect()
            }
            Some((_, rest)) => rest.to_vec(),
            None => Vec::new(),
        }
    }
}

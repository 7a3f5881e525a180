//! Whose namespaces a workload is in: its own, the host's or another instance's
//! (namespaces(7)). The mount namespace is always its own, that of the network is
//! [`super::Network`], that of users belongs to [`super::Security`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceModes {
    /// Processes.
    pub pid: PidMode,
    /// System V IPC, POSIX message queues, and /dev/shm with them.
    pub ipc: IpcMode,
    /// Host and domain name.
    pub uts: Own,
    /// The cgroup tree.
    pub cgroup: Own,
}

impl NamespaceModes {
    /// All are the workload's own, and nobody joins them.
    pub fn is_private(&self) -> bool {
        *self == NamespaceModes::default()
    }
}

/// Which processes it sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PidMode {
    /// Its own.
    #[default]
    Private,
    /// All of the host.
    Host,
    /// Those of another instance, by id or name as the user said it.
    Instance(String),
}

/// With whom it shares memory and message queues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpcMode {
    /// With nobody.
    #[default]
    Private,
    /// With instances that ask for it.
    Shareable,
    /// With nobody, and without a /dev/shm.
    None,
    /// With the host.
    Host,
    /// With another instance, by id or name as the user said it.
    Instance(String),
}

/// Its own namespace or the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Own {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

impl fmt::Display for PidMode {
    /// As flags have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidMode::Private => f.write_str("private"),
            PidMode::Host => f.write_str("host"),
            PidMode::Instance(name) => write!(f, "container:{name}"),
        }
    }
}

impl fmt::Display for IpcMode {
    /// As flags have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpcMode::Private => f.write_str("private"),
            IpcMode::Shareable => f.write_str("shareable"),
            IpcMode::None => f.write_str("none"),
            IpcMode::Host => f.write_str("host"),
            IpcMode::Instance(name) => write!(f, "container:{name}"),
        }
    }
}

impl fmt::Display for Own {
    /// As flags have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Own::Private => "private",
            Own::Host => "host",
        })
    }
}

//! What stands within a service.

use std::collections::BTreeMap;

use isola_runtime::workload::Isolation;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::units;

/// Names and values.
pub type Labels = BTreeMap<String, String>;

/// Names and values; `None` was not set anywhere.
pub type Variables = BTreeMap<String, Option<String>>;

/// Bytes; -1 lifts a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub i64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Bytes).map_err(D::Error::custom)
    }
}

/// A time span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub std::time::Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nanos = units::duration(&text).ok_or_else(|| D::Error::custom("no duration"))?;
        Ok(Span(std::time::Duration::from_nanos(nanos)))
    }
}

/// A file mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode(pub u32);

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::mode(&text)
            .map(Mode)
            .ok_or_else(|| D::Error::custom("no file mode"))
    }
}

/// Walls in the order in which they are to be tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walls(pub Vec<Isolation>);

impl<'de> Deserialize<'de> for Walls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Walls, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "default" => Ok(Walls::default()),
            text => Isolation::parse_list("isolation", text)
                .map(Walls)
                .map_err(D::Error::custom),
        }
    }
}

/// A limit for both, or one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Ulimit {
    /// The same for both.
    Single(i64),
    /// One each.
    Both {
        /// What holds.
        soft: i64,
        /// What it may be raised to.
        hard: i64,
    },
}

/// How another service must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It was started.
    #[default]
    ServiceStarted,
    /// Its health check passes.
    ServiceHealthy,
    /// It ended with 0.
    ServiceCompletedSuccessfully,
}

impl Condition {
    /// The word that files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::ServiceStarted => "service_started",
            Condition::ServiceHealthy => "service_healthy",
            Condition::ServiceCompletedSuccessfully => "service_completed_successfully",
        }
    }
}

/// What must be there before a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Dependency {
    /// How it must be.
    pub condition: Condition,
    /// Whether the service is restarted when this one is.
    pub restart: bool,
    /// Whether it must be there at all.
    pub required: bool,
}
/// A secret or config that a service gets as a file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FileReference {
    /// Its name at the top of the file.
    pub source: String,
    /// The path; for configs `/SOURCE` when there is none.
    pub target: Option<String>,
    /// Owner.
    pub uid: Option<String>,
    /// Group.
    pub gid: Option<String>,
    /// Mode; 0444 when there is none.
    pub mode: Option<Mode>,
}
/// A published port.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Port {
    /// For people.
    pub name: Option<String>,
    /// `ingress` or `host`: the same here.
    pub mode: Option<String>,
    /// Address of the host.
    pub host_ip: Option<String>,
    /// The port within.
    pub target: u16,
    /// The port of the host, or a pool `N-M`; none: any that is free.
    pub published: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// For people.
    pub app_protocol: Option<String>,
}
/// A folder or volume of a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs` or `image`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A path of the host, a volume's name, an image; none: an anonymous volume.
    pub source: Option<String>,
    /// Where it is mounted.
    pub target: String,
    /// It can't be written to.
    pub read_only: bool,
    /// For Docker Desktop.
    pub consistency: Option<String>,
    /// For `bind`.
    pub bind: Option<BindOptions>,
    /// For `volume`.
    pub volume: Option<VolumeOptions>,
    /// For `tmpfs`.
    pub tmpfs: Option<TmpfsOptions>,
    /// For `image`.
    pub image: Option<ImageOptions>,
}
/// Options of a folder of the host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// `z` or `Z`.
    pub selinux: Option<String>,
    /// `rprivate` and the like.
    pub propagation: Option<String>,
    /// Whether a folder that is not there is made; yes when nothing is said.
    pub create_host_path: Option<bool>,
    /// `enabled`, `disabled`, `writable`, `readonly`.
    pub recursive: Option<String>,
}
/// Options of a volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Labels of an anonymous volume.
    pub labels: Labels,
    /// What the image has there is not copied into an empty volume.
    pub nocopy: bool,
    /// A folder within the volume.
    pub subpath: Option<String>,
}
/// Options of a file system in memory.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// How much it may hold.
    pub size: Option<Bytes>,
    /// Mode of its root.
    pub mode: Option<Mode>,
}
/// Options of an image that is mounted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ImageOptions {
    /// A folder within it.
    pub subpath: Option<String>,
}
/// A service in a network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Link {
    /// Further names.
    pub aliases: Vec<String>,
    /// Options of the driver.
    pub driver_opts: Labels,
    /// The highest has the default route.
    pub gw_priority: i64,
    /// Name of the interface.
    pub interface_name: Option<String>,
    /// A fixed address.
    pub ipv4_address: Option<String>,
    /// A fixed address.
    pub ipv6_address: Option<String>,
    /// Further link-local addresses.
    pub link_local_ips: Vec<String>,
    /// Address of the interface.
    pub mac_address: Option<String>,
    /// The highest is joined first.
    pub priority: i64,
}
/// How the health of a service is found out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// `CMD`, `CMD-SHELL` or `NONE` and what is run; empty: the image's.
    pub test: Vec<String>,
    /// For one run.
    pub timeout: Option<Span>,
    /// Between two runs.
    pub interval: Option<Span>,
    /// Failures that make it unhealthy.
    pub retries: Option<u32>,
    /// In which failures do not count.
    pub start_period: Option<Span>,
    /// Between two runs in the start period.
    pub start_interval: Option<Span>,
    /// The image's is not used either.
    pub disable: bool,
}
/// Where output goes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// `json-file`, `local`, `none`.
    pub driver: Option<String>,
    /// Options of the driver.
    pub options: Variables,
}
/// A device of the host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeviceMapping {
    /// Its path, or its name in the Container Device Interface.
    pub source: String,
    /// Its path within.
    pub target: Option<String>,
    /// Some of `rwm`.
    pub permissions: Option<String>,
}
/// Limits on block devices.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Blkio {
    /// 10 to 1000; 0 is none.
    pub weight: Option<u16>,
    /// For single devices.
    pub weight_device: Vec<DeviceWeight>,
    /// Bytes per second.
    pub device_read_bps: Vec<DeviceRate>,
    /// Reads per second.
    pub device_read_iops: Vec<DeviceRate>,
    /// Bytes per second.
    pub device_write_bps: Vec<DeviceRate>,
    /// Writes per second.
    pub device_write_iops: Vec<DeviceRate>,
}
/// A weight for one device.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeviceWeight {
    /// The device.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}
/// A rate for one device.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeviceRate {
    /// The device.
    pub path: String,
    /// Per second.
    pub rate: Bytes,
}
/// For Windows.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CredentialSpec {
    /// A config.
    pub config: Option<String>,
    /// A file.
    pub file: Option<String>,
    /// A key of the registry.
    pub registry: Option<String>,
}
/// A program that manages a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Provider {
    /// The program.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its options.
    pub options: BTreeMap<String, serde_yaml::Value>,
}
/// How a service uses a language model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ModelUse {
    /// The variable with its address.
    pub endpoint_var: Option<String>,
    /// The variable with its name.
    pub model_var: Option<String>,
}

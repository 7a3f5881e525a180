//! `build`, `deploy`, `develop`, hooks.

use serde::Deserialize;

use super::parts::*;
use std::collections::BTreeMap;

/// How an image is made.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Build {
    /// An absolute path, or an address.
    pub context: String,
    /// From the context.
    pub dockerfile: Option<String>,
    /// Instead of a file.
    pub dockerfile_inline: Option<String>,
    /// Further privileges.
    pub entitlements: Vec<String>,
    /// Arguments; `None` was not set anywhere.
    pub args: Variables,
    /// Attestation.
    pub provenance: Option<String>,
    /// Attestation.
    pub sbom: Option<String>,
    /// `ID[=PATH]`
    pub ssh: Vec<String>,
    /// Labels of the image.
    pub labels: Labels,
    /// Where cached steps come from.
    pub cache_from: Vec<String>,
    /// Where they go.
    pub cache_to: Vec<String>,
    /// Nothing cached is used.
    pub no_cache: bool,
    /// Nothing cached is used for these stages.
    pub no_cache_filter: Vec<String>,
    /// Names and further contexts.
    pub additional_contexts: Labels,
    /// Bases are fetched anew.
    pub pull: bool,
    /// `NAME=ADDRESS`
    pub extra_hosts: Vec<String>,
    /// Walls of the build's steps; empty: those of the service.
    pub isolation: Walls,
    /// Network of the build.
    pub network: Option<String>,
    /// The stage to stop at.
    pub target: Option<String>,
    /// Secrets that steps may mount.
    pub secrets: Vec<FileReference>,
    /// Size of `/dev/shm`.
    pub shm_size: Option<Bytes>,
    /// Further names of the image.
    pub tags: Vec<String>,
    /// Resource limits.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// What it is built for.
    pub platforms: Vec<String>,
    /// All capabilities.
    pub privileged: bool,
}
/// Replicas, limits, restarts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Deploy {
    /// `replicated` and the like.
    pub mode: Option<String>,
    /// How many instances.
    pub replicas: Option<u32>,
    /// Labels of the service.
    pub labels: Labels,
    /// For clusters.
    pub update_config: Option<UpdateConfig>,
    /// For clusters.
    pub rollback_config: Option<UpdateConfig>,
    /// Limits and reservations.
    pub resources: Resources,
    /// When it is started again.
    pub restart_policy: Option<RestartPolicy>,
    /// For clusters.
    pub placement: Option<Placement>,
    /// For clusters.
    pub endpoint_mode: Option<String>,
}
/// How a cluster updates.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UpdateConfig {
    /// How many at once.
    pub parallelism: Option<u32>,
    /// Between groups.
    pub delay: Option<Span>,
    /// What a failure leads to.
    pub failure_action: Option<String>,
    /// How long an update is watched.
    pub monitor: Option<Span>,
    /// Failures that are borne.
    pub max_failure_ratio: Option<f64>,
    /// `start-first` or `stop-first`.
    pub order: Option<String>,
}
/// Limits and reservations.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// What it may use.
    pub limits: Option<Limits>,
    /// What is kept for it.
    pub reservations: Option<Reservations>,
}
/// What a service may use.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// CPUs.
    pub cpus: Option<f64>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Processes and threads.
    pub pids: Option<i64>,
}
/// What is kept for a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Reservations {
    /// CPUs.
    pub cpus: Option<f64>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Devices.
    pub devices: Vec<DeviceRequest>,
    /// For clusters.
    pub generic_resources: Vec<GenericResource>,
}
/// A device that is asked for by what it can do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// What it must be able to do.
    pub capabilities: Vec<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// How many; -1 is all.
    pub count: Option<i64>,
    /// Which ones.
    pub device_ids: Vec<String>,
    /// Options of the driver.
    pub options: Labels,
}
/// For clusters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct GenericResource {
    /// Something that can be counted.
    pub discrete_resource_spec: Option<DiscreteResource>,
}
/// Something that can be counted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DiscreteResource {
    /// What.
    pub kind: String,
    /// How many.
    pub value: i64,
}
/// When a service is started again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// `none`, `on-failure` or `any`.
    pub condition: Option<String>,
    /// Between tries.
    pub delay: Option<Span>,
    /// Tries.
    pub max_attempts: Option<u32>,
    /// When a start counts as good.
    pub window: Option<Span>,
}
/// For clusters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Which nodes.
    pub constraints: Vec<String>,
    /// Which nodes rather.
    pub preferences: Vec<Preference>,
    /// How many on one.
    pub max_replicas_per_node: Option<u32>,
}
/// For clusters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Preference {
    /// A label of nodes.
    pub spread: Option<String>,
}
/// What happens when files change.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Develop {
    /// Rules.
    pub watch: Vec<WatchRule>,
}
/// What happens when files of one folder change.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WatchRule {
    /// The folder or file.
    pub path: String,
    /// `sync`, `rebuild`, `restart`, `sync+restart`, `sync+exec`.
    pub action: String,
    /// Where files go.
    pub target: Option<String>,
    /// What is run after.
    pub exec: Option<Hook>,
    /// Patterns that do not count.
    pub ignore: Vec<String>,
    /// Patterns that count alone.
    pub include: Vec<String>,
    /// Files are brought over at the start.
    pub initial_sync: bool,
}
/// A command that is run in a service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// The command.
    pub command: Option<Vec<String>>,
    /// As whom.
    pub user: Option<String>,
    /// With all capabilities.
    pub privileged: bool,
    /// Where.
    pub working_dir: Option<String>,
    /// Further variables.
    pub environment: Variables,
}

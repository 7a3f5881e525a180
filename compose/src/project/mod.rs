//! The project as it is typed: what planning and carrying out work with.

mod build;
mod parts;
mod service;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use build::*;
pub use parts::*;
pub use service::Service;

/// A project: services and what they share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Services that are on.
    pub services: BTreeMap<String, Service>,
    /// Services that are off and whose images others are built upon; of these no more
    /// is there than their builds need.
    #[serde(skip)]
    pub bases: BTreeMap<String, Service>,
    /// Networks that services use.
    pub networks: BTreeMap<String, Network>,
    /// Volumes that services use.
    pub volumes: BTreeMap<String, Volume>,
    /// Secrets that services use.
    pub secrets: BTreeMap<String, FileObject>,
    /// Configs that services use.
    pub configs: BTreeMap<String, FileObject>,
    /// Language models that services use.
    pub models: BTreeMap<String, Model>,
}
/// A network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Its name outside of the file.
    pub name: String,
    /// Its driver.
    pub driver: Option<String>,
    /// Options of the driver.
    pub driver_opts: Labels,
    /// Addresses.
    pub ipam: Ipam,
    /// It is there already, and stays.
    pub external: bool,
    /// Nothing leads out of it.
    pub internal: bool,
    /// Others may join it.
    pub attachable: bool,
    /// Labels.
    pub labels: Labels,
    /// Whether it has IPv4.
    pub enable_ipv4: Option<bool>,
    /// Whether it has IPv6.
    pub enable_ipv6: Option<bool>,
}
/// Addresses of a network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ipam {
    /// Who gives them out.
    pub driver: Option<String>,
    /// Subnets.
    pub config: Vec<Pool>,
    /// Options of the driver.
    pub options: Labels,
}
/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// `ADDRESS/LENGTH`
    pub subnet: Option<String>,
    /// The host's address in it.
    pub gateway: Option<String>,
    /// Where addresses are given out.
    pub ip_range: Option<String>,
    /// Addresses that are taken.
    pub aux_addresses: Labels,
}
/// A named volume.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name outside of the file.
    pub name: String,
    /// Its driver.
    pub driver: Option<String>,
    /// Options of the driver.
    pub driver_opts: Labels,
    /// It is there already, and stays.
    pub external: bool,
    /// Labels.
    pub labels: Labels,
}
/// A secret or config: where its content comes from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FileObject {
    /// Its name outside of the file.
    pub name: String,
    /// A file of the host.
    pub file: Option<String>,
    /// A variable of the user's environment.
    pub environment: Option<String>,
    /// The content itself.
    pub content: Option<String>,
    /// It is kept elsewhere.
    pub external: bool,
    /// Labels.
    pub labels: Labels,
    /// Who keeps it.
    pub driver: Option<String>,
    /// Options of the driver.
    pub driver_opts: Labels,
    /// Who fills it in.
    pub template_driver: Option<String>,
}
/// A language model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Model {
    /// Its name.
    pub name: Option<String>,
    /// What is run.
    pub model: String,
    /// Tokens.
    pub context_size: Option<i64>,
    /// Flags of what runs it.
    pub runtime_flags: Vec<String>,
}

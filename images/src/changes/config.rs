//! The part of a configuration that tells how to run an image.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::image::Healthcheck;

/// `config` of an image configuration, with Docker's additions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// USER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// EXPOSE, as `80/tcp`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[serde(serialize_with = "as_map", deserialize_with = "of_map")]
    pub exposed_ports: BTreeSet<String>,
    /// ENV, as `KEY=VALUE`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "of_list")]
    pub env: Vec<String>,
    /// ENTRYPOINT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// CMD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// HEALTHCHECK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// VOLUME.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[serde(serialize_with = "as_map", deserialize_with = "of_map")]
    pub volumes: BTreeSet<String>,
    /// WORKDIR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// LABEL.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "of_labels"
    )]
    pub labels: BTreeMap<String, String>,
    /// STOPSIGNAL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds from that signal to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u64>,
    /// ONBUILD.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "of_list")]
    pub on_build: Vec<String>,
    /// SHELL.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "of_list")]
    pub shell: Vec<String>,
}

fn of_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn of_labels<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn of_map<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    let map: Option<BTreeMap<String, serde::de::IgnoredAny>> = Option::deserialize(from)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

/// Sets are written as maps to empty objects, as Go has them.
fn as_map<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Empty {}
    serializer.collect_map(set.iter().map(|item| (item, Empty {})))
}

impl RunConfig {
    /// The value of a variable.
    pub fn env(&self, key: &str) -> Option<String> {
        let value = |pair: &String| Some(pair.strip_prefix(key)?.strip_prefix('=')?.to_owned());
        self.env.iter().find_map(value)
    }

    /// Sets a variable.
    pub fn set_env(&mut self, key: &str, value: &str) {
        let pair = format!("{key}={value}");
        let same = |known: &&mut String| known.split('=').next() == Some(key);
        match self.env.iter_mut().find(same) {
            Some(known) => *known = pair,
            None => self.env.push(pair),
        }
    }
}

//! The part of a configuration that tells how to run an image.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use crate::image::Healthcheck;

/// `config` of an image configuration, with Docker's additions, as it is
/// written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RunConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_map")]
    pub(crate) exposed_ports: BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthcheck: Option<Healthcheck>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_map")]
    pub(crate) volumes: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) on_build: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) shell: Vec<String>,
}

/// Sets are written as maps to empty objects, as Go has them.
fn as_map<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Empty {}
    serializer.collect_map(set.iter().map(|item| (item, Empty {})))
}

impl RunConfig {
    pub(crate) fn env(&self, key: &str) -> Option<String> {
        let value = |pair: &String| Some(pair.strip_prefix(key)?.strip_prefix('=')?.to_owned());
        self.env.iter().find_map(value)
    }

    pub(crate) fn set_env(&mut self, key: &str, value: &str) {
        let pair = format!("{key}={value}");
        let same = |known: &&mut String| known.split('=').next() == Some(key);
        match self.env.iter_mut().find(same) {
            Some(known) => *known = pair,
            None => self.env.push(pair),
        }
    }
}

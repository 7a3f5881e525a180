//! What is written down about a volume, and what is told about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The label that Docker gives to anonymous volumes, with an empty value.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// `record.json`. All but `phase` stays as it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) anonymous: bool,
    /// Content that is being put in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<Phase>,
}

/// How far content that is put in has come; whoever holds `fill.lock` and finds one
/// here has it from a process that ended in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The staging folder is incomplete: it is to be dropped.
    Filling,
    /// The staging folder is complete: what is left in it is to be moved out where
    /// nothing is in the way.
    Moving,
    /// As before, replacing what is in the way.
    Replacing,
}

/// A volume in the fields of Docker's `volume inspect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspect {
    /// RFC 3339, UTC.
    pub created_at: String,
    /// `local`.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Folder of the host with the data. With `size` or `block` it is an empty one:
    /// the file system is mounted only where an instance's supervisor sees it.
    pub mountpoint: String,
    /// The name.
    pub name: String,
    /// Options as they were given.
    pub options: BTreeMap<String, String>,
    /// `local`.
    pub scope: String,
    /// Where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<UsageData>,
}

/// How much a volume takes, as `docker system df -v` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UsageData {
    /// Instances that have it at this moment.
    pub ref_count: i64,
    /// Bytes of disk; -1 when the data is not ours (`o=bind`).
    pub size: i64,
}

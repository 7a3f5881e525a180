//! `build`, and `develop`.

use super::{
    Field, HOSTS, Merge, ONE_OR_MORE, PAIRS, Record, Shape, TEXTS, ULIMITS, VARIABLES, field,
    record,
};
use crate::forms::{self, keys};

pub(super) const BUILD: Record = record("build", BUILD_FIELDS);

const BUILD_FIELDS: &[Field] = &[
    field("context", Shape::Checked(forms::any_text)),
    field("dockerfile", Shape::Text),
    field("dockerfile_inline", Shape::Text),
    field("entitlements", TEXTS),
    field("args", VARIABLES),
    field("provenance", Shape::Value),
    field("sbom", Shape::Value),
    field("ssh", Shape::Form(forms::ssh, &TEXTS)),
    field("labels", PAIRS),
    field("cache_from", TEXTS),
    field("cache_to", TEXTS),
    field("no_cache", Shape::Bool),
    field("no_cache_filter", ONE_OR_MORE),
    field("additional_contexts", PAIRS),
    field("pull", Shape::Bool),
    field("extra_hosts", HOSTS),
    field("isolation", Shape::Form(forms::isolation, &Shape::Text)),
    field("network", Shape::Text),
    field("target", Shape::Text),
    field("secrets", super::service::BUILD_SECRETS).merge(Merge::Keyed(keys::secret)),
    field("shm_size", Shape::Bytes),
    field("tags", TEXTS),
    field("ulimits", ULIMITS),
    field("platforms", TEXTS),
    field("privileged", Shape::Bool),
];

pub(super) const DEVELOP: Record = record("develop", DEVELOP_FIELDS);

const DEVELOP_FIELDS: &[Field] =
    &[field("watch", Shape::List(&Shape::Record(&TRIGGER))).merge(Merge::Append)];

const TRIGGER: Record =
    record("rule of develop.watch", TRIGGER_FIELDS).requires(&["path", "action"]);

const TRIGGER_FIELDS: &[Field] = &[
    field("path", Shape::Path),
    field(
        "action",
        Shape::Choice(&["sync", "rebuild", "restart", "sync+restart", "sync+exec"]),
    ),
    field("target", Shape::Text),
    field("exec", Shape::Record(&super::service::HOOK)),
    field("ignore", ONE_OR_MORE),
    field("include", ONE_OR_MORE),
    field("initial_sync", Shape::Bool),
];

//! `deploy`.

use super::{COUNT, Field, INT, Merge, PAIRS, Record, Shape, TEXTS, field, record};
use crate::forms;

pub(super) const DEPLOY: Record = record("deploy", DEPLOY_FIELDS);

const DEPLOY_FIELDS: &[Field] = &[
    field(
        "mode",
        Shape::Choice(&["replicated", "global", "replicated-job", "global-job"]),
    ),
    field("replicas", COUNT),
    field("labels", PAIRS),
    field("update_config", Shape::Record(&UPDATE)),
    field("rollback_config", Shape::Record(&UPDATE)),
    field("resources", Shape::Record(&RESOURCES)),
    field("restart_policy", Shape::Record(&RESTART)),
    field("placement", Shape::Record(&PLACEMENT)),
    field("endpoint_mode", Shape::Text),
];

const UPDATE: Record = record("update_config", UPDATE_FIELDS);

const UPDATE_FIELDS: &[Field] = &[
    field("parallelism", COUNT),
    field("delay", Shape::Duration),
    field("failure_action", Shape::Text),
    field("monitor", Shape::Duration),
    field("max_failure_ratio", Shape::Number),
    field("order", Shape::Choice(&["start-first", "stop-first"])),
];

const RESOURCES: Record = record("resources", RESOURCES_FIELDS);

const RESOURCES_FIELDS: &[Field] = &[
    field("limits", Shape::Record(&LIMITS)),
    field("reservations", Shape::Record(&RESERVATIONS)),
];

const LIMITS: Record = record("limits", LIMITS_FIELDS);

const LIMITS_FIELDS: &[Field] = &[
    field("cpus", Shape::Number),
    field("memory", Shape::Bytes),
    field("pids", INT),
];

const RESERVATIONS: Record = record("reservations", RESERVATIONS_FIELDS);

const RESERVATIONS_FIELDS: &[Field] = &[
    field("cpus", Shape::Number),
    field("memory", Shape::Bytes),
    field("devices", Shape::List(&Shape::Record(&DEVICE))).merge(Merge::Append),
    field("generic_resources", Shape::List(&Shape::Record(&GENERIC))).merge(Merge::Append),
];

/// A device that is asked for by what it can do.
pub(super) const DEVICE: Record = record("device", DEVICE_FIELDS);

const DEVICE_FIELDS: &[Field] = &[
    field("capabilities", TEXTS),
    field("driver", Shape::Text),
    field("count", Shape::Form(forms::device_count, &INT)),
    field("device_ids", TEXTS),
    field("options", PAIRS),
];

const GENERIC: Record = record("generic resource", GENERIC_FIELDS);

const GENERIC_FIELDS: &[Field] = &[field("discrete_resource_spec", Shape::Record(&DISCRETE))];

const DISCRETE: Record = record("discrete_resource_spec", DISCRETE_FIELDS);

const DISCRETE_FIELDS: &[Field] = &[field("kind", Shape::Text), field("value", INT)];

const RESTART: Record = record("restart_policy", RESTART_FIELDS);

const RESTART_FIELDS: &[Field] = &[
    field("condition", Shape::Choice(&["none", "on-failure", "any"])),
    field("delay", Shape::Duration),
    field("max_attempts", COUNT),
    field("window", Shape::Duration),
];

const PLACEMENT: Record = record("placement", PLACEMENT_FIELDS);

const PLACEMENT_FIELDS: &[Field] = &[
    field("constraints", TEXTS),
    field("preferences", Shape::List(&Shape::Record(&PREFERENCE))).merge(Merge::Append),
    field("max_replicas_per_node", COUNT),
];

const PREFERENCE: Record = record("preference", PREFERENCE_FIELDS);

const PREFERENCE_FIELDS: &[Field] = &[field("spread", Shape::Text)];

//! The top of a file: networks, volumes, secrets, configs, models, include.

use super::{Field, INT, Merge, ONE_OR_MORE, PAIRS, Record, SERVICE, Shape, TEXTS, field, record};
use crate::forms::{self, keys};

/// A whole file.
pub(crate) const PROJECT: Record = record("compose file", PROJECT_FIELDS);

const PROJECT_FIELDS: &[Field] = &[
    field("version", Shape::Text),
    field("name", Shape::Text),
    field(
        "include",
        Shape::List(&Shape::Form(forms::include, &Shape::Record(&INCLUDE))),
    ),
    field("services", Shape::Named(&Shape::Record(&SERVICE))),
    field("networks", named(&NETWORK_SHAPE)),
    field("volumes", named(&VOLUME_SHAPE)),
    field("secrets", named(&SECRET_SHAPE)),
    field("configs", named(&CONFIG_SHAPE)),
    field("models", Shape::Named(&Shape::Record(&MODEL))),
];

const fn named(shape: &'static Shape) -> Shape {
    Shape::Named(shape)
}

const NETWORK_SHAPE: Shape =
    Shape::Nullable(&Shape::Form(forms::external, &Shape::Record(&NETWORK)));
const VOLUME_SHAPE: Shape = Shape::Nullable(&Shape::Form(forms::external, &Shape::Record(&VOLUME)));
const SECRET_SHAPE: Shape = Shape::Form(forms::external, &Shape::Record(&SECRET));
const CONFIG_SHAPE: Shape = Shape::Form(forms::external, &Shape::Record(&CONFIG));

const INCLUDE: Record = record("include", INCLUDE_FIELDS)
    .requires(&["path"])
    .without_extensions();

const INCLUDE_FIELDS: &[Field] = &[
    field("path", ONE_OR_MORE),
    field("project_directory", Shape::Text),
    field("env_file", ONE_OR_MORE),
];

const NETWORK: Record = record("network", NETWORK_FIELDS);

const NETWORK_FIELDS: &[Field] = &[
    field("name", Shape::Text),
    field("driver", Shape::Text),
    field("driver_opts", Shape::Map(&Shape::Value)),
    field("ipam", Shape::Record(&IPAM)),
    field("external", Shape::Bool),
    field("internal", Shape::Bool),
    field("attachable", Shape::Bool),
    field("labels", PAIRS),
    field("enable_ipv4", Shape::Bool),
    field("enable_ipv6", Shape::Bool),
];

const IPAM: Record = record("ipam", IPAM_FIELDS);

const IPAM_FIELDS: &[Field] = &[
    field("driver", Shape::Text),
    field("config", Shape::List(&Shape::Record(&POOL))).merge(Merge::Joined(keys::subnet)),
    field("options", Shape::Map(&Shape::Value)),
];

const POOL: Record = record("ipam.config", POOL_FIELDS);

const POOL_FIELDS: &[Field] = &[
    field("subnet", Shape::Checked(forms::subnet)),
    field("gateway", Shape::Checked(forms::address)),
    field("ip_range", Shape::Checked(forms::subnet)),
    field("aux_addresses", Shape::Map(&Shape::Checked(forms::address))),
];

const VOLUME: Record = record("volume", VOLUME_FIELDS);

const VOLUME_FIELDS: &[Field] = &[
    field("name", Shape::Text),
    field("driver", Shape::Text),
    field("driver_opts", Shape::Map(&Shape::Value)),
    field("external", Shape::Bool),
    field("labels", PAIRS),
];

const SECRET: Record = record("secret", SECRET_FIELDS);

const SECRET_FIELDS: &[Field] = &[
    field("name", Shape::Text),
    field("file", Shape::Path),
    field("environment", Shape::Text),
    field("content", Shape::Text),
    field("external", Shape::Bool),
    field("labels", PAIRS),
    field("driver", Shape::Text),
    field("driver_opts", Shape::Map(&Shape::Value)),
    field("template_driver", Shape::Text),
];

const CONFIG: Record = record("config", CONFIG_FIELDS);

const CONFIG_FIELDS: &[Field] = &[
    field("name", Shape::Text),
    field("file", Shape::Path),
    field("environment", Shape::Text),
    field("content", Shape::Text),
    field("external", Shape::Bool),
    field("labels", PAIRS),
    field("template_driver", Shape::Text),
];

const MODEL: Record = record("model", MODEL_FIELDS).requires(&["model"]);

const MODEL_FIELDS: &[Field] = &[
    field("name", Shape::Text),
    field("model", Shape::Text),
    field("context_size", INT),
    field("runtime_flags", TEXTS),
];

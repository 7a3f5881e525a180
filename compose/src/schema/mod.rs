//! The compose specification as tables: which keys there are, what their values
//! may be, which short forms they have, how two of them are merged. Checking,
//! merging, de-duplicating and ordering all walk the same tables.
//!
//! Keys stand in the order in which Compose prints them.

mod build;
mod deploy;
mod service;
mod top;

use crate::forms::Reader;
use crate::yaml::Node;

pub(crate) use service::SERVICE;
pub(crate) use top::PROJECT;

/// What a value may be. All scalars are texts until a shape says what they are,
/// so that `02:42` and `1.10` stay what was written.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// Anything: extensions and options of programs that are not ours.
    Any,
    /// A text; a number is taken as it is written.
    Text,
    /// A text that may also be a boolean (values of environments and labels).
    Value,
    /// One of several words.
    Choice(&'static [&'static str]),
    /// A text that a function checks, and may write anew.
    Checked(fn(&str) -> Result<String, Complaint>),
    Bool,
    /// A whole number with its bounds.
    Int(i64, i64),
    Number,
    /// Bytes, with units; kept as a text of digits.
    Bytes,
    /// A time span; kept as Go prints it.
    Duration,
    /// Octal.
    Mode,
    /// A path, made absolute from the project's folder.
    Path,
    List(&'static Shape),
    /// Names with values of one shape.
    Map(&'static Shape),
    /// Names of services, volumes and the like with values of one shape.
    Named(&'static Shape),
    Record(&'static Record),
    /// May be empty (null), and stays so.
    Nullable(&'static Shape),
    /// May be written in shorter forms; the function gives the long one.
    Form(Form, &'static Shape),
}

/// Turns a short form into the long one. `None`: it can't be read, and that was
/// told.
pub(crate) type Form = fn(&mut Reader<'_>, Node) -> Option<Node>;

/// Why a text is not what it should be, with the next step.
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// A mapping with known keys.
pub(crate) struct Record {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    pub(crate) fields: &'static [Field],
    /// Keys that must be there once all files are merged.
    pub(crate) required: &'static [&'static str],
    /// Whether `x-` keys may be there.
    pub(crate) extensions: bool,
}

/// A key of a record.
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) shape: Shape,
    pub(crate) merge: Merge,
}

/// What becomes of a value when a later file has one, too.
#[derive(Clone, Copy)]
pub(crate) enum Merge {
    /// Mappings are merged, lists joined without repeating an item, all else
    /// replaced.
    Usual,
    /// The later value alone.
    Replace,
    /// Lists joined as they are.
    Append,
    /// Lists joined; of items with one key the later stays, in the earlier's
    /// place.
    Keyed(fn(&Node) -> String),
    /// Lists joined; items with one key are merged.
    Joined(fn(&Node) -> String),
    /// Merged if both have the same driver, else replaced.
    SameDriver,
}

impl Record {
    pub(crate) fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }
}

/// A key with the usual merge.
const fn field(key: &'static str, shape: Shape) -> Field {
    Field {
        key,
        shape,
        merge: Merge::Usual,
    }
}

impl Field {
    const fn merge(self, merge: Merge) -> Field {
        Field { merge, ..self }
    }
}

/// A mapping that may have `x-` keys and needs no key.
const fn record(what: &'static str, fields: &'static [Field]) -> Record {
    Record {
        what,
        fields,
        required: &[],
        extensions: true,
    }
}

impl Record {
    const fn requires(self, required: &'static [&'static str]) -> Record {
        Record { required, ..self }
    }

    const fn without_extensions(self) -> Record {
        Record {
            extensions: false,
            ..self
        }
    }
}

/// A list of texts.
const TEXTS: Shape = Shape::List(&Shape::Text);
/// A text, or a list of them.
const ONE_OR_MORE: Shape = Shape::Form(crate::forms::one_or_more, &TEXTS);
/// `NAME: value`, or a list of `NAME=value`; a name alone has an empty value.
const PAIRS: Shape = Shape::Form(crate::forms::pairs, &Shape::Map(&Shape::Value));
/// The same; a name alone takes its value from the environment.
const VARIABLES: Shape = Shape::Form(
    crate::forms::variables,
    &Shape::Map(&Shape::Nullable(&Shape::Value)),
);
/// A command: a list, or a text that is split as a shell does.
const COMMAND: Shape = Shape::Nullable(&Shape::Form(crate::forms::command, &TEXTS));
/// `HOST:ADDRESS`, or a mapping.
const HOSTS: Shape = Shape::Form(crate::forms::hosts, &TEXTS);
/// `NAME: LIMIT`, or `NAME: {soft, hard}`.
const ULIMITS: Shape = Shape::Map(&Shape::Form(crate::forms::ulimit, &Shape::Any));
/// Any number that fits.
const INT: Shape = Shape::Int(i64::MIN, i64::MAX);
/// Zero or more.
const COUNT: Shape = Shape::Int(0, u32::MAX as i64);

//! From a Dockerfile's text to instructions with their places. Pure: nothing is looked
//! up, and variables stay as they are until a stage is built.

mod command;
mod flags;
mod lines;
mod model;
mod mount;
mod parse;
mod values;
mod words;

pub use command::Command;
pub use lines::{Directives, HereDoc, Line, Lines, split};
pub use model::{
    Arg, Copy, CopySource, Dockerfile, From, Instruction, Item, Mount, MountKind, Network, Run,
    Sharing, Stage, Word,
};
pub use parse::{parse, parse_trigger};
#[cfg(test)]
mod tests;

pub use words::{Lookup, expand, expand_doc, split_words};

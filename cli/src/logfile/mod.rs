//! The log of an instance (Docker's json-file): one JSON object a line, in
//! `log.json` and, once rotated, `log.json.1` (the newest) and so on.

mod entry;
mod reader;
mod time;

pub(crate) use entry::Entry;
pub(crate) use reader::LogReader;
pub(crate) use time::{Moment, parse_moment};

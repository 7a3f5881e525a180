//! Instances as `ps` lists them and `inspect` shows them.

mod details;
mod list;

pub(crate) use details::details;
pub(crate) use list::{FIELDS, FILTERS, SHOWN, row, select};

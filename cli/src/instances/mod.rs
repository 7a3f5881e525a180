//! Instances as `ps` lists them and `inspect` shows them.

mod details;
mod links;
mod list;
mod networks;
mod ports;

pub(crate) use details::details;
pub(crate) use links::{Links, is_called};
pub(crate) use list::{FIELDS, FILTERS, SHOWN, row, select};
pub(crate) use ports::{Port, ports};

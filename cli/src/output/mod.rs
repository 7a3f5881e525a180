//! What commands print: tables, JSON, templates, sizes and times.

mod file;
mod format;
mod human;
mod pipe;
mod table;

use std::io::Write;

use crate::error::{Failure, Result};

pub(crate) use file::write_file;
pub(crate) use format::{Column, Format, Rows};
pub(crate) use human::{
    binary_size, decimal_size, duration, elapsed_ms, local_time, rfc3339, since,
};
pub(crate) use pipe::stream;
pub(crate) use table::{clean, table};

/// Writes text to standard output. A reader that went away (`isola ps | head`)
/// ends the command without a word, with the code that SIGPIPE would give.
pub(crate) fn print(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

/// [`print`] for bytes.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}

/// Writes a line to standard output.
pub(crate) fn print_line(line: &str) -> Result<()> {
    print(&format!("{line}\n"))
}

/// Writes a value as JSON, indented as Docker's `inspect` does.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<()> {
    let mut text = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, style);
    serde::Serialize::serialize(value, &mut writer)
        .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?;
    text.push(b'\n');
    print_bytes(&text)
}

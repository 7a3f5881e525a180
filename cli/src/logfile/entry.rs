//! One line of a log.

use jiff::Timestamp;
use serde::Deserialize;

/// What was written at once, up to a line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Entry {
    /// The text with its line end, if it had one.
    pub(crate) log: String,
    /// `stdout` or `stderr`.
    pub(crate) stream: String,
    /// When, in RFC 3339 with nanoseconds.
    pub(crate) time: String,
}

impl Entry {
    /// Reads a line; one that is damaged (a full disk, a power cut) is none.
    pub(crate) fn parse(line: &[u8]) -> Option<Entry> {
        serde_json::from_slice(line).ok()
    }

    /// It went to standard error.
    pub(crate) fn is_stderr(&self) -> bool {
        self.stream == "stderr"
    }

    /// When it was written.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

//! The journal of a data root: what happens to instances, images, networks and
//! volumes, written by whoever does it, since there is no daemon that could tell.
//!
//! One record is one write(2) to a file opened with O_APPEND, so records of several
//! writers never mix and nobody waits for anybody. A record is written as RFC 7464 has
//! it: a byte 0x1e, which no JSON text holds, the JSON, a line feed. A writer that was
//! killed in the middle, or found the disk full, so costs its own record and no other.
//! Nothing is synced: a journal that the host took down with it tells of a past that
//! the records of what is there have outlived.
//!
//! It is bounded: a file above its limit is renamed, and the oldest go. A writer may
//! have opened a file just before that, so readers follow the last renamed one, too.

mod event;
mod reader;
mod writer;

pub use event::{Event, Subject};
pub use reader::{Reader, Watch};
pub use writer::Journal;

/// Begins a record (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;

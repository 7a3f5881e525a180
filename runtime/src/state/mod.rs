//! Instances on disk.
//!
//! Records are small JSON files, each replaced atomically, rather than rows of a
//! database: an instance has one writer at a time (its supervisor, or the command
//! that holds its lock), a damaged record costs one instance and not all, and a
//! supervisor stays below a mebibyte. Whether a supervisor lives is not written
//! anywhere: it holds a lock (flock(2)) that the kernel drops with it.

mod file;
mod names;
mod paths;
mod record;

pub use file::{Lock, read_json, write_json, write_json_unsynced};
pub use names::{Names, random_name, valid_name};
pub use paths::{DEFAULT_ROOT, InstancePaths, Paths};
pub use record::{Health, HealthRun, HealthState, Record, State, Status, new_id, now_ms};

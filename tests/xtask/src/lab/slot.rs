//! Bounds how many labs run at once on this machine: each takes 3 GiB.

use std::fs::File;
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::Result;
use crate::workspace::cache;

/// Labs that may run at once.
const SLOTS: usize = 3;

/// A place in the lab; given back when dropped, or when the process ends.
pub(crate) struct Slot {
    _lock: File,
}

/// Waits for a place.
pub(crate) fn take() -> Result<Slot> {
    let mut told = false;
    loop {
        for number in 0..SLOTS {
            let path = cache()?.join("lab").join(format!("slot-{number}"));
            let lock = File::create(&path)?;
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Slot { _lock: lock });
            }
        }
        if !told {
            eprintln!("lab: waiting, {SLOTS} labs are running");
            told = true;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

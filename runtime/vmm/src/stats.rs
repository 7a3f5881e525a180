//! Counters of what made vCPUs leave the guest for this process.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Exits to this process, counted by all vCPUs. Exits that KVM handles itself
/// (page faults, doorbells with an ioeventfd, timers) are not among them.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) port_reads: AtomicU64,
    pub(crate) port_writes: AtomicU64,
    pub(crate) mmio_reads: AtomicU64,
    pub(crate) mmio_writes: AtomicU64,
    pub(crate) other: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `in` instructions.
    pub port_reads: u64,
    /// `out` instructions.
    pub port_writes: u64,
    /// Reads of device registers in memory.
    pub mmio_reads: u64,
    /// Writes of device registers in memory.
    pub mmio_writes: u64,
    /// Anything else: interrupted runs, halts.
    pub other: u64,
}

impl Stats {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            port_reads: read(&self.port_reads),
            port_writes: read(&self.port_writes),
            mmio_reads: read(&self.mmio_reads),
            mmio_writes: read(&self.mmio_writes),
            other: read(&self.other),
        }
    }
}

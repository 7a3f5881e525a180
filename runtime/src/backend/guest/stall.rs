//! Tells a machine that hangs while it boots from one that is slow.
//!
//! QEMU's software CPU now and then loses an interrupt: the guest waits for something
//! that will never come, and QEMU with it. A machine that boots computes, however
//! little the host's other work leaves to it; one that hangs does not.

use std::time::{Duration, Instant};

use isola_init::Pid;
use isola_init::server::{Filter, list_processes};

/// Pause between two looks.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// A machine that has computed so little...
const LITTLE: Duration = Duration::from_millis(100);
/// ...for so long stands still,
const STILL: Duration = Duration::from_secs(10);
/// but no boot is given up earlier.
const EARLIEST: Duration = Duration::from_secs(20);

/// A machine under watch.
#[derive(Debug)]
pub(crate) struct Stall {
    pid: Pid,
    looked: Instant,
    record: Record,
}

/// What was seen of it.
#[derive(Debug)]
struct Record {
    started: Instant,
    /// When it was last seen to compute, and what it had used then.
    lively: (Instant, Duration),
    stalled: bool,
}

impl Stall {
    /// Watches the process of a machine that has just been started.
    pub(crate) fn new(pid: Pid) -> Stall {
        let now = Instant::now();
        Stall {
            pid,
            looked: now,
            record: Record::new(now),
        }
    }

    /// Whether it stands still; looks at it now and then.
    pub(crate) fn is_stalled(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.looked) >= LOOK {
            self.looked = now;
            let pid = self.pid.as_raw_nonzero().get();
            // One that can't be looked at has ended, which is told otherwise.
            if let Ok(list) = list_processes(Filter::Pids(&[pid]))
                && let Some(machine) = list.first()
            {
                let used = Duration::from_millis(machine.cpu_ms);
                self.record.note(now, used);
            }
        }
        self.record.stalled
    }
}

impl Record {
    fn new(now: Instant) -> Record {
        Record {
            started: now,
            lively: (now, Duration::ZERO),
            stalled: false,
        }
    }

    fn note(&mut self, now: Instant, used: Duration) {
        if used.saturating_sub(self.lively.1) >= LITTLE {
            self.lively = (now, used);
        }
        self.stalled = now.duration_since(self.lively.0) >= STILL
            && now.duration_since(self.started) >= EARLIEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second in which a machine is found to stand still, if it is.
    fn found(used: impl Fn(u64) -> u64) -> Option<u64> {
        let start = Instant::now();
        let mut record = Record::new(start);
        (1..120).find(|second| {
            let used = Duration::from_millis(used(*second));
            record.note(start + Duration::from_secs(*second), used);
            record.stalled
        })
    }

    #[test]
    fn only_machines_that_do_not_compute_stand_still() {
        // A host with much else to do leaves it a hundredth.
        assert_eq!(found(|second| second * 11), None);
        assert_eq!(found(|second| second.min(3) * 900), Some(20));
        assert_eq!(found(|second| second.min(30) * 900), Some(40));
        // Its timers tick.
        assert_eq!(found(|second| 2000 + second * 2), Some(20));
    }
}

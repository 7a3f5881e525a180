//! Whether and when a workload that ended is started again.

use std::time::Duration;

use crate::workload::Restart;

/// Wait before the first restart; it doubles with each further one.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait between two starts.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A run of this length makes the next wait short again.
pub(crate) const GOOD_RUN: Duration = Duration::from_secs(10);

/// Whether policy starts it again. `count` is how often it did already.
pub(crate) fn wanted(policy: Restart, exit_code: i32, count: u32, stopped_by_user: bool) -> bool {
    if stopped_by_user {
        return false;
    }
    match policy {
        Restart::No => false,
        Restart::Always | Restart::UnlessStopped => true,
        Restart::OnFailure { max } => exit_code != 0 && (max == 0 || count < max),
    }
}

/// The wait after `last`, given how long the run was.
pub(crate) fn next_wait(last: Duration, run: Duration) -> Duration {
    if run >= GOOD_RUN || last.is_zero() {
        return FIRST_WAIT;
    }
    (last * 2).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_table() {
        let max3 = Restart::OnFailure { max: 3 };
        let any = Restart::OnFailure { max: 0 };
        for (policy, code, count, stopped, expected) in [
            (Restart::No, 1, 0, false, false),
            (Restart::Always, 0, 9, false, true),
            (Restart::Always, 0, 0, true, false),
            (Restart::UnlessStopped, 0, 0, false, true),
            (Restart::UnlessStopped, 137, 0, true, false),
            (max3, 0, 0, false, false),
            (max3, 1, 2, false, true),
            (max3, 1, 3, false, false),
            (any, 1, 1000, false, true),
        ] {
            assert_eq!(
                wanted(policy, code, count, stopped),
                expected,
                "{policy:?} {code} {count} {stopped}"
            );
        }
    }

    #[test]
    fn waits_double_up_to_a_minute_and_start_over_after_a_good_run() {
        let short = Duration::from_secs(1);
        let mut wait = Duration::ZERO;
        let mut seen = Vec::new();
        for _ in 0..12 {
            wait = next_wait(wait, short);
            seen.push(wait.as_millis());
        }
        assert_eq!(seen[..4], [100, 200, 400, 800]);
        assert_eq!(seen[11], 60_000);
        assert_eq!(next_wait(wait, GOOD_RUN), FIRST_WAIT);
    }
}

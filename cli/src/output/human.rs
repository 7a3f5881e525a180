//! Sizes and times as people read them, in Docker's words.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Now, in milliseconds since the epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Milliseconds from `then` to now; 0 when the clock was set back.
pub(crate) fn elapsed_ms(then: u64) -> u64 {
    now_ms().saturating_sub(then)
}

/// How long ago `then` was, as `5 minutes ago`.
pub(crate) fn since(then_ms: u64) -> String {
    format!("{} ago", duration(elapsed_ms(then_ms)))
}

/// A duration in one unit.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// Bytes in decimal units, three digits: `77.8MB`.
pub(crate) fn decimal_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// Bytes in binary units, four digits: `1.945MiB`.
pub(crate) fn binary_size(bytes: u64) -> String {
    scaled(
        bytes,
        1024.0,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
        4,
    )
}

#[allow(clippy::cast_precision_loss)]
fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let whole = match value {
        v if v < 10.0 => 1,
        v if v < 100.0 => 2,
        v if v < 1000.0 => 3,
        _ => 4,
    };
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{}", units[unit])
}

/// `2026-11-22T15:42:24.123Z`, and Docker's zero time for what never was.
pub(crate) fn rfc3339(ms: Option<u64>) -> String {
    let Some(time) = ms.and_then(timestamp) else {
        return "0001-01-01T00:00:00Z".to_owned();
    };
    time.to_string()
}

/// `2026-11-22 15:42:24 +0000 UTC`, in the user's time zone.
pub(crate) fn local_time(ms: u64) -> String {
    let Some(time) = timestamp(ms) else {
        return String::new();
    };
    let zoned = time.to_zoned(TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

fn timestamp(ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_dockers_words() {
        const MINUTE: u64 = 60_000;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        for (ms, expected) in [
            (0, "Less than a second"),
            (1_999, "1 second"),
            (59_999, "59 seconds"),
            (MINUTE, "About a minute"),
            (2 * MINUTE, "2 minutes"),
            (59 * MINUTE, "59 minutes"),
            (HOUR, "About an hour"),
            (90 * MINUTE, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (14 * DAY, "2 weeks"),
            (60 * DAY, "2 months"),
            (730 * DAY, "2 years"),
        ] {
            assert_eq!(duration(ms), expected, "{ms}");
        }
    }

    #[test]
    fn sizes_have_few_digits() {
        for (bytes, decimal, binary) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1_000, "1kB", "1000B"),
            (77_800_000, "77.8MB", "74.2MiB"),
            (1_234_567, "1.23MB", "1.177MiB"),
            (999_999, "1000kB", "976.6KiB"),
            (8 << 30, "8.59GB", "8GiB"),
        ] {
            assert_eq!(decimal_size(bytes), decimal);
            assert_eq!(binary_size(bytes), binary);
        }
    }

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
        assert_eq!(rfc3339(Some(1_795_362_144_123)), "2026-11-22T15:42:24.123Z");
    }
}

//! Times as `--since` and `--until` take them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::error::{Code, Failure, Result};

/// A moment on the time line.
pub(crate) type Moment = Timestamp;

/// Reads a date and time (RFC 3339, or local without a zone), seconds since the
/// epoch, or a duration before `now` such as `1h30m`.
pub(crate) fn parse_moment(flag: &str, text: &str, now: Timestamp) -> Result<Moment> {
    let moment = epoch(text)
        .or_else(|| now.checked_sub(duration(text)?).ok())
        .or_else(|| text.parse().ok())
        .or_else(|| local(text));
    moment.ok_or_else(|| {
        Failure::new(Code::Invalid, format!("{flag}: {text:?} is not a time")).hint(
            "a time such as 2026-11-22T15:04:05Z, seconds since 1970, or 10m for ten minutes ago",
        )
    })
}

fn epoch(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

fn local(text: &str) -> Option<Timestamp> {
    let time: DateTime = text.parse().ok()?;
    Some(time.to_zoned(TimeZone::system()).ok()?.timestamp())
}

/// Go's durations: numbers with `ms`, `s`, `m`, `h`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let seconds = match &rest[..letters] {
            "ms" => number / 1000.0,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(SignedDuration::try_from_secs_f64(seconds).ok()?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("10m", "2026-11-22T11:50:00Z"),
            ("1h30m", "2026-11-22T10:30:00Z"),
            ("1.5s", "2026-11-22T11:59:58.5Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1795348800.5", "2026-11-22T12:00:00.5Z"),
            ("2026-11-22T15:04:05+01:00", "2026-11-22T14:04:05Z"),
        ] {
            let moment = parse_moment("--since", text, now).unwrap();
            assert_eq!(moment.to_string(), expected, "{text}");
        }
        for text in [
            "",
            "abc",
            "10",
            "5x",
            "-5m",
            "2026-13-01",
            "1e400h",
            "99999999999999999h",
        ] {
            let read = parse_moment("--since", text, now);
            assert_eq!(read.is_err(), text != "10", "{text}");
        }
        assert!(parse_moment("--since", "2026-11-22", now).is_ok());
    }
}

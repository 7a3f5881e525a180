//! Sizes, durations, file modes: what compose files write, and the one form in
//! which Compose prints them.

/// Nanoseconds of Go's units, and days and weeks, which compose files may have.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("d", 86_400 * SECOND),
    ("w", 604_800 * SECOND),
];

const SECOND: u64 = 1_000_000_000;

/// Reads a duration such as `1m30s` or `1.5h` as nanoseconds.
pub(crate) fn duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut total: u64 = 0;
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *factor)?)?;
        rest = after;
    }
    Some(total)
}

/// A decimal number times a factor, exact but for a fraction below one.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut value = u128::from(whole) * u128::from(factor);
    // What is below one unit (a nanosecond, a byte) is nothing.
    let mut divisor: u128 = 1;
    for digit in fraction.bytes().take(18) {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        divisor *= 10;
        value += u128::from(digit) * u128::from(factor) / divisor;
    }
    u64::try_from(value).ok()
}

/// As Go prints a duration: `1h0m0s`, `1m30s`, `1.5s`, `200ms`.
pub(crate) fn show_duration(nanos: u64) -> String {
    if nanos < SECOND {
        return match nanos {
            0 => "0s".into(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
            _ => format!("{}ms", decimal(nanos, 1_000_000)),
        };
    }
    let seconds = nanos / SECOND;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let rest = decimal(nanos % (60 * SECOND), SECOND);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

fn decimal(number: u64, unit: u64) -> String {
    let fraction = number % unit;
    if fraction == 0 {
        return (number / unit).to_string();
    }
    let digits = unit.ilog10() as usize;
    let fraction = format!("{fraction:0digits$}");
    format!("{}.{}", number / unit, fraction.trim_end_matches('0'))
}

/// Reads a size such as `512m`, `1.5 GiB` or `1024` as bytes; units are powers
/// of 1024, as Docker has them. `-1` is for limits that can be lifted.
pub(crate) fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        unit => {
            let rest = unit.get(1..)?;
            if !matches!(rest, "" | "b" | "ib") {
                return None;
            }
            match unit.as_bytes().first()? {
                b'k' => 1,
                b'm' => 2,
                b'g' => 3,
                b't' => 4,
                b'p' => 5,
                _ => return None,
            }
        }
    };
    i64::try_from(scaled(number, 1 << (10 * power))?).ok()
}

/// Reads a file mode: octal digits with or without `0` or `0o` before them.
pub(crate) fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = octal
        .then(|| u32::from_str_radix(digits, 8).ok())
        .flatten()?;
    (mode <= 0o7777).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, nanos, shown) in [
            ("30s", 30 * SECOND, "30s"),
            ("1m30s", 90 * SECOND, "1m30s"),
            ("90s", 90 * SECOND, "1m30s"),
            ("1.5h", 5_400 * SECOND, "1h30m0s"),
            ("1h", 3_600 * SECOND, "1h0m0s"),
            ("1d", 86_400 * SECOND, "24h0m0s"),
            ("200ms", 200_000_000, "200ms"),
            ("1s500ms", 1_500_000_000, "1.5s"),
            ("10us", 10_000, "10µs"),
            ("2h32m", 9_120 * SECOND, "2h32m0s"),
            ("0", 0, "0s"),
            ("0.25s", 250_000_000, "250ms"),
        ] {
            assert_eq!(duration(text), Some(nanos), "{text}");
            assert_eq!(show_duration(nanos), shown, "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "1x",
            "-1s",
            "1 s",
            "1..5s",
            ".s",
            "99999999999w",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("64k", Some(65_536)),
            ("50M", Some(52_428_800)),
            ("1.5g", Some(1_610_612_736)),
            ("512 MB", Some(536_870_912)),
            ("1GiB", Some(1 << 30)),
            ("100b", Some(100)),
            ("-1", Some(-1)),
            ("-5", None),
            ("", None),
            ("g", None),
            ("1x", None),
            ("1gg", None),
            ("99999999p", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }

    #[test]
    fn modes() {
        for (text, value) in [
            ("0440", Some(0o440)),
            ("440", Some(0o440)),
            ("0o755", Some(0o755)),
            ("1777", Some(0o1777)),
            ("888", None),
            ("", None),
            ("77777", None),
        ] {
            assert_eq!(mode(text), value, "{text}");
        }
    }
}

//! Sizes, parts of a CPU and sets of CPUs as users write them.

use std::collections::BTreeSet;

/// A size in bytes: a decimal number and one of `b k m g t p`, in either case,
/// with `b` or `ib` after it or not; always powers of 1024, as Docker's flags.
///
/// # Errors
/// Why the text is not a size.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let end = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit)
    {
        "" if unit != "ib" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err("not a size".to_owned()),
    };
    let (value, scale) = parse_decimal(number).ok_or("not a size")?;
    let bytes = (value << shift) / scale;
    u64::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes <= i64::MAX as u64)
        .ok_or("larger than any memory".to_owned())
}

/// Thousandths of a CPU from a decimal number such as `1.5`.
///
/// # Errors
/// Why the text is not such a number.
pub fn parse_cpus(text: &str) -> Result<u64, String> {
    let (value, scale) = parse_decimal(text.trim()).ok_or("not a number of CPUs")?;
    let milli = value * 1000;
    if milli % scale != 0 {
        return Err("finer than a thousandth of a CPU".to_owned());
    }
    u64::try_from(milli / scale).map_err(|_| "not a number of CPUs".to_owned())
}

/// A decimal number as value and power of ten by which to divide it.
fn parse_decimal(text: &str) -> Option<(u128, u128)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && part.len() <= 18;
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let parse = |part: &str| {
        if part.is_empty() {
            Some(0)
        } else {
            part.parse::<u128>().ok()
        }
    };
    Some((parse(whole)? * scale + parse(fraction)?, scale))
}

/// A span of time in nanoseconds, as Go writes it: numbers with units, `1m30s`,
/// `1.5h`, `300ms`; `0` alone needs none.
///
/// # Errors
/// Why the text is not such a span.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u128)] = &[
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let wrong = || "not a span of time such as 1m30s or 500ms".to_owned();
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(0);
    }
    let mut total: u128 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, tail) = rest.split_at(digits.ok_or_else(wrong)?);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, tail) = tail.split_at(end.unwrap_or(tail.len()));
        let (value, scale) = parse_decimal(number).ok_or_else(wrong)?;
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        let part = value.checked_mul(*factor).ok_or_else(wrong)? / scale;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    u64::try_from(total)
        .ok()
        .filter(|nanos| *nanos <= i64::MAX as u64)
        .ok_or_else(|| "longer than any life".to_owned())
}

/// A list of CPUs such as `0-3,5` (cpuset(7), "List format").
///
/// # Errors
/// Why the text is not such a list.
pub fn parse_cpu_list(text: &str) -> Result<BTreeSet<u32>, String> {
    let mut set = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |digits: &str| {
            let digits = digits.trim();
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            // The kernel's own largest number of CPUs is 8192.
            plain
                .then(|| digits.parse::<u32>().ok())
                .flatten()
                .filter(|n| *n < 8192)
        };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => set.extend(first..=last),
            _ => return Err(format!("{part:?} is neither a CPU nor a range of CPUs")),
        }
    }
    Ok(set)
}

/// A set of CPUs in list format.
pub fn format_cpu_list(set: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in set {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let show = |(first, last): &(u32, u32)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    ranges.iter().map(show).collect::<Vec<_>>().join(",")
}

/// Bytes as a person reads them, rounded down to one decimal.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let (whole, rest) = (tenths / 10, tenths % 10);
    if rest == 0 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{whole}.{rest} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let good = [
            ("0", 0),
            ("1024", 1024),
            ("5b", 5),
            ("1k", 1024),
            ("1KB", 1024),
            ("1KiB", 1024),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            (".5k", 512),
            ("10 G", 10 << 30),
            ("1T", 1 << 40),
            ("2p", 2 << 50),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "1x",
            "1kk",
            "1ib",
            "1..5",
            "0x10",
            "1e9",
            "9999999p",
            "１",
            "1 2",
            "99999999999999999999",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parts_of_a_cpu() {
        for (text, milli) in [
            ("1", 1000),
            ("1.5", 1500),
            (".25", 250),
            ("0.010", 10),
            ("2.0000", 2000),
        ] {
            assert_eq!(parse_cpus(text), Ok(milli), "{text}");
        }
        for text in ["", "-1", "1.0005", "two", ".", "1,5", "NaN", "inf"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_of_cpus() {
        for (text, canonical) in [
            ("0", "0"),
            ("0-3,5", "0-3,5"),
            ("3,1,2,0", "0-3"),
            ("1,1", "1"),
        ] {
            assert_eq!(
                format_cpu_list(&parse_cpu_list(text).unwrap()),
                canonical,
                "{text}"
            );
        }
        for text in ["", "a", "3-1", "1-", "-1", "0,,1", "0-9999999", "+1"] {
            assert!(parse_cpu_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1536, "1.5 KiB"),
            (512 << 20, "512 MiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(format_size(bytes), text);
        }
    }
}

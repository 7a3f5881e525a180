//! Signals by name and number, as on x86-64 (signal(7)).

/// Names without `SIG`, with their numbers; other names of the same number last.
const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("IOT", 6),
    ("CLD", 17),
    ("POLL", 29),
];
/// SIGRTMIN as programs see it: the C library keeps two for itself.
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

/// The number of a signal given as `TERM`, `SIGTERM`, `sigterm`, `15`,
/// `RTMIN+3` or `RTMAX-1`.
///
/// # Errors
/// Why it is none, with the names that there are.
pub fn parse_signal(text: &str) -> Result<i32, String> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse::<i32>().ok()).flatten()
    };
    let real_time = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+', number).map(|n| RT_MIN + n)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-', number).map(|n| RT_MAX - n)
    } else {
        None
    };
    let found = real_time.filter(|n| (RT_MIN..=RT_MAX).contains(n));
    let found = found.or_else(|| number(&upper).filter(|n| (1..=RT_MAX).contains(n)));
    found
        .or_else(|| {
            NAMES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, n)| *n)
        })
        .ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().take(31).map(|(name, _)| *name).collect();
            format!(
                "no such signal; there are 1 to 64, {}, RTMIN+0 to RTMIN+30",
                names.join(" ")
            )
        })
}

/// The number after `sign`, at most 30, or 0 where nothing follows.
fn offset(rest: &str, sign: char, number: impl Fn(&str) -> Option<i32>) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    number(rest.strip_prefix(sign)?).filter(|n| *n <= RT_MAX - RT_MIN)
}

/// The usual name of a signal, as `SIGTERM`; real-time signals count from
/// SIGRTMIN.
pub fn signal_name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if (RT_MIN..=RT_MAX).contains(&number) => format!("SIGRTMIN+{}", number - RT_MIN),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        let good = [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigquit", 3),
            ("9", 9),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGRTMAX", 64),
            ("64", 64),
            ("POLL", 29),
        ];
        for (text, number) in good {
            assert_eq!(parse_signal(text), Ok(number), "{text}");
        }
        for text in [
            "",
            "0",
            "65",
            "-9",
            "SIGSIGTERM",
            "SIG",
            "SIG9",
            "FOO",
            "RTMIN+31",
            "RTMIN-1",
            "RTMAX+1",
            "4294967311",
            "RTMIN++1",
        ] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
        assert!(parse_signal("NOPE").unwrap_err().contains("HUP INT QUIT"));
        assert_eq!(
            (signal_name(15), signal_name(37), signal_name(99)),
            ("SIGTERM".into(), "SIGRTMIN+3".into(), "99".into())
        );
    }
}

//! What pax headers say about the member behind them.

use std::io;

use rustix::fs::Timespec;

use crate::attributes::is_portable;
use crate::tar_read::bad;

/// What extensions say about the member that follows.
#[derive(Default)]
pub(crate) struct Extensions {
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Timespec>,
    pub(crate) extended: Vec<(String, Vec<u8>)>,
}

impl Extensions {
    /// Records `LENGTH KEY=VALUE\n`, where the length counts all of it (POSIX.1-2001,
    /// pax, "Extended Header").
    pub(crate) fn pax(&mut self, mut data: &[u8]) -> io::Result<()> {
        let broken = || bad("a malformed extended header");
        while !data.is_empty() {
            let space = data.iter().position(|byte| *byte == b' ');
            let space = space.ok_or_else(broken)?;
            let length: usize = number(&data[..space]).ok_or_else(broken)?;
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return Err(broken());
            }
            let record = &data[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=');
            let equals = equals.ok_or_else(broken)?;
            let key = str::from_utf8(&record[..equals]).map_err(|_| broken())?;
            self.record(key, &record[equals + 1..])?;
            data = &data[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &str, value: &[u8]) -> io::Result<()> {
        let broken = || bad(format!("a malformed extended header '{key}'"));
        match key {
            "path" => self.name = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "size" => self.size = Some(number(value).ok_or_else(broken)?),
            "uid" => self.uid = Some(number(value).ok_or_else(broken)?),
            "gid" => self.gid = Some(number(value).ok_or_else(broken)?),
            "mtime" => self.mtime = Some(parse_time(value).ok_or_else(broken)?),
            _ if key.starts_with("GNU.sparse.") => {
                return Err(bad(
                    "sparse files in pax form are not understood; use GNU's",
                ));
            }
            _ => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.")
                    && is_portable(name)
                {
                    self.extended.push((name.to_owned(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    // A sign is no digit.
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with an optional sign and fraction.
fn parse_time(text: &[u8]) -> Option<Timespec> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &text[..0]),
    };
    let seconds: i64 = number(whole)?;
    let mut nanoseconds: i64 = 0;
    for at in 0..9 {
        let digit = fraction.get(at).copied().unwrap_or(b'0');
        nanoseconds = nanoseconds * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some(match (negative, nanoseconds) {
        (false, tv_nsec) => Timespec {
            tv_sec: seconds,
            tv_nsec,
        },
        (true, 0) => Timespec {
            tv_sec: -seconds,
            tv_nsec: 0,
        },
        (true, _) => Timespec {
            tv_sec: -seconds - 1,
            tv_nsec: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_may_have_line_feeds() {
        let mut extensions = Extensions::default();
        extensions
            .pax(b"27 SCHILY.xattr.user.a=\n1\n\n28 SCHILY.xattr.trusted.a=x\n11 path=ab\n")
            .unwrap();
        assert_eq!(
            extensions.extended,
            [("user.a".to_owned(), b"\n1\n".to_vec())]
        );
        assert_eq!(extensions.name.as_deref(), Some(&b"ab"[..]));
        for text in [
            "x",
            "5",
            "99 a=b\n",
            "5 a=b",
            "3 \n",
            "6 ab=\n\n",
            "-6 a=b\n",
            "11 size=-1\n",
        ] {
            assert!(
                Extensions::default().pax(text.as_bytes()).is_err(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn times_are_read() {
        for (text, seconds, nanoseconds) in [
            ("5", 5, 0),
            ("5.25", 5, 250_000_000),
            ("-1.5", -2, 500_000_000),
            ("-0.5", -1, 500_000_000),
            ("-3", -3, 0),
            ("1.1234567891", 1, 123_456_789),
        ] {
            let time = parse_time(text.as_bytes()).unwrap();
            assert_eq!(
                (time.tv_sec, time.tv_nsec),
                (seconds, nanoseconds),
                "{text}"
            );
        }
        assert!(parse_time(b"x").is_none() && parse_time(b"1.x").is_none());
    }
}

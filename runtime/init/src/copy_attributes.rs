//! What a tar archive says about a file besides its data.

use std::io::{self, Read};

use rustix::fs::Timespec;
use rustix::io::Errno;
use tar::Entry;

/// Attributes of one entry; without an owner it stays with who extracts it.
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mtime: Timespec,
    pub(crate) extended: Vec<(String, Vec<u8>)>,
}

impl Attributes {
    /// Reads header and extensions.
    pub(crate) fn of(entry: &mut Entry<'_, impl Read>, owners: bool) -> io::Result<Attributes> {
        let mut mtime = Timespec {
            tv_sec: i64::try_from(entry.header().mtime()?).unwrap_or(0),
            tv_nsec: 0,
        };
        let mut extended = Vec::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions.flatten() {
                let Ok(key) = extension.key() else { continue };
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    extended.push((name.to_owned(), extension.value_bytes().to_vec()));
                } else if key == "mtime"
                    && let Some(time) = extension.value().ok().and_then(parse_time)
                {
                    mtime = time;
                }
            }
        }
        let id = |id: u64| {
            u32::try_from(id)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or(Errno::INVAL)
        };
        let owner = if owners {
            Some((id(entry.header().uid()?)?, id(entry.header().gid()?)?))
        } else {
            None
        };
        Ok(Attributes {
            mode: entry.header().mode()? & 0o7777,
            owner,
            mtime,
            extended,
        })
    }
}

/// Seconds with an optional fraction, as pax headers have them.
fn parse_time(text: &str) -> Option<Timespec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let tv_sec: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(9)
        .collect();
    let tv_nsec: i64 = digits.parse().ok()?;
    Some(match (seconds.starts_with('-'), tv_nsec) {
        (true, 1..) => Timespec {
            tv_sec: tv_sec - 1,
            tv_nsec: 1_000_000_000 - tv_nsec,
        },
        _ => Timespec { tv_sec, tv_nsec },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, seconds, nanoseconds) in [
            ("5", 5, 0),
            ("5.25", 5, 250_000_000),
            ("-1.5", -2, 500_000_000),
            ("-3", -3, 0),
            ("1.1234567891", 1, 123_456_789),
        ] {
            let time = parse_time(text).unwrap();
            assert_eq!(
                (time.tv_sec, time.tv_nsec),
                (seconds, nanoseconds),
                "{text}"
            );
        }
        assert!(parse_time("x").is_none() && parse_time("1.x").is_none());
    }
}

//! Extended headers of a tar stream (POSIX.1-2024 `pax`, "pax Extended
//! Header"), with the keys that GNU tar and star add.

use super::header::Segment;
use crate::error::{Error, Result};

/// What extended headers say about the next entry, or about all that follow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<i64>,
    pub(crate) gid: Option<i64>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: SparseKeys,
}

/// The keys `GNU.sparse.*` in their three versions.
#[derive(Clone, Debug, Default)]
pub(crate) struct SparseKeys {
    pub(crate) name: Option<Vec<u8>>,
    /// Apparent size (`size` before version 1.0, `realsize` in it).
    pub(crate) real_size: Option<u64>,
    /// Versions 0.0 and 0.1: numbers, offset and length by turns.
    pub(crate) map: Vec<u64>,
    /// Version 1.0: the map stands in front of the data.
    pub(crate) map_in_data: bool,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

impl Pax {
    /// Takes the records of one extended header over those already known.
    pub(crate) fn read(&mut self, mut records: &[u8]) -> Result<()> {
        while !records.is_empty() {
            // Padding after the last record, as some writers leave.
            if records.iter().all(|&b| b == 0) {
                break;
            }
            let (key, value, rest) = record(records).ok_or_else(malformed)?;
            self.set(key, value)?;
            records = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        // An empty value takes back a global header's.
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = bytes(),
            b"linkpath" => self.link = bytes(),
            b"size" => self.size = optional(value, natural)?,
            b"uid" => self.uid = optional(value, integer)?,
            b"gid" => self.gid = optional(value, integer)?,
            b"mtime" => self.mtime = optional(value, timestamp)?,
            b"GNU.sparse.name" => self.sparse.name = bytes(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.real_size = optional(value, natural)?;
            }
            b"GNU.sparse.major" => self.sparse.map_in_data = value == b"1",
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.map.push(natural(value)?),
            b"GNU.sparse.map" => {
                let numbers = value.split(|&b| b == b',').filter(|n| !n.is_empty());
                self.sparse.map = numbers.map(natural).collect::<Result<_>>()?;
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    /// Bytes of what is held.
    pub(crate) fn weight(&self) -> usize {
        let bytes = |field: &Option<Vec<u8>>| field.as_ref().map_or(0, Vec::len);
        let xattrs = self
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len() + 32);
        bytes(&self.path) + bytes(&self.link) + self.sparse.map.len() * 8 + xattrs.sum::<usize>()
    }
}

/// Numbers, offset and length by turns, as segments.
pub(crate) fn pair_up(numbers: &[u64]) -> Result<Vec<Segment>> {
    if !numbers.len().is_multiple_of(2) {
        return Err(Error::Tar(
            "a sparse map has an odd count of numbers".into(),
        ));
    }
    Ok(numbers
        .chunks_exact(2)
        .map(|pair| Segment {
            offset: pair[0],
            len: pair[1],
        })
        .collect())
}

/// Splits `LENGTH KEY=VALUE\n` off; the length counts all of it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&b| b == b' ')?;
    let length = usize::try_from(natural(&bytes[..space]).ok()?).ok()?;
    if length <= space + 1 || length > bytes.len() {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|&b| b == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Result<T>) -> Result<Option<T>> {
    if value.is_empty() {
        Ok(None)
    } else {
        parse(value).map(Some)
    }
}

pub(crate) fn natural(value: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value).map_err(|_| malformed())?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed());
    }
    text.parse().map_err(|_| malformed())
}

fn integer(value: &[u8]) -> Result<i64> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(malformed)
}

/// Seconds with a fraction; the nanoseconds count upwards, also before 1970.
fn timestamp(value: &[u8]) -> Result<(i64, u32)> {
    let text = std::str::from_utf8(value).map_err(|_| malformed())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed());
    }
    let seconds: i64 = whole.parse().map_err(|_| malformed())?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().map_err(|_| malformed())?;
    if whole.starts_with('-') && nanos > 0 {
        return Ok((
            seconds.checked_sub(1).ok_or_else(malformed)?,
            1_000_000_000 - nanos,
        ));
    }
    Ok((seconds, nanos))
}

fn malformed() -> Error {
    Error::Tar("an extended header is malformed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rec(key: &str, value: &[u8]) -> Vec<u8> {
        let body = [key.as_bytes(), b"=", value, b"\n"].concat();
        let mut length = body.len() + 2;
        while length.to_string().len() + 1 + body.len() != length {
            length += 1;
        }
        [length.to_string().as_bytes(), b" ", &body].concat()
    }

    #[test]
    fn records_are_read() {
        let mut pax = Pax::default();
        let records = [
            rec("path", b"a\nb"),
            rec("size", b"8589934592"),
            rec("uid", b"4294967294"),
            rec("SCHILY.xattr.user.x", b"\0=\n"),
            rec("comment", b"ignored"),
        ];
        pax.read(&records.concat()).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(pax.size, Some(8 << 30));
        assert_eq!(pax.uid, Some(4_294_967_294));
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"\0=\n".to_vec())]);
        pax.read(&rec("path", b"")).unwrap();
        assert_eq!(pax.path, None);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"0 a=b\n",
            b"6 a=bc",
            b"5 ab\n",
            b"18446744073709551616 a=b\n",
            &rec("size", b"-1"),
            &rec("mtime", b"1.x"),
            &rec("GNU.sparse.map", b"1,x"),
        ] {
            assert!(Pax::default().read(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn timestamps() {
        for (text, value) in [
            ("0", (0, 0)),
            ("1700000000.123456789", (1_700_000_000, 123_456_789)),
            ("1.5", (1, 500_000_000)),
            ("1.0000000019", (1, 1)),
            ("-1", (-1, 0)),
            ("-0.25", (-1, 750_000_000)),
            ("-1.25", (-2, 750_000_000)),
        ] {
            assert_eq!(timestamp(text.as_bytes()).unwrap(), value, "{text}");
        }
    }
}

//! One 512-byte header of a tar stream (POSIX.1-2024 `pax`, "ustar
//! Interchange Format"; GNU tar manual, "Basic Tar Format").

use crate::error::{Error, Result};

pub(crate) const BLOCK: usize = 512;

/// A header block whose checksum is right.
pub(crate) struct Header([u8; BLOCK]);

/// A run of data in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Header {
    /// `None` for a block of zeros, which ends the archive.
    pub(crate) fn parse(block: [u8; BLOCK]) -> Result<Option<Self>> {
        if block.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let stored = number(&block[148..156]).ok();
        let byte = |i: usize, b: u8| if (148..156).contains(&i) { b' ' } else { b };
        let unsigned: i64 = block
            .iter()
            .enumerate()
            .map(|(i, &b)| i64::from(byte(i, b)))
            .sum();
        // Some old writers summed signed bytes.
        let signed: i64 = block
            .iter()
            .enumerate()
            .map(|(i, &b)| i64::from(byte(i, b) as i8))
            .sum();
        if stored != Some(unsigned) && stored != Some(signed) {
            return Err(Error::Tar("a header's checksum is wrong".into()));
        }
        Ok(Some(Self(block)))
    }

    pub(crate) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    fn is_gnu(&self) -> bool {
        &self.0[257..265] == b"ustar  \0"
    }

    fn is_ustar(&self) -> bool {
        &self.0[257..263] == b"ustar\0"
    }

    /// The name, with the prefix that ustar splits off long ones.
    pub(crate) fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix: &[u8] = if !self.is_ustar() {
            b""
        } else if &self.0[508..512] == b"tar\0" {
            text(&self.0[345..476])
        } else {
            text(&self.0[345..500])
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(crate) fn mode(&self) -> Result<u32> {
        // Other bits than the permissions stand for the kind in old archives.
        Ok((self.field(100..108, "mode")? & 0o7777) as u32)
    }

    pub(crate) fn uid(&self) -> Result<i64> {
        self.field(108..116, "owner")
    }

    pub(crate) fn gid(&self) -> Result<i64> {
        self.field(116..124, "group")
    }

    pub(crate) fn size(&self) -> Result<u64> {
        unsigned(self.field(124..136, "size")?, "size")
    }

    pub(crate) fn mtime(&self) -> Result<i64> {
        self.field(136..148, "modification time")
    }

    /// Major and minor number.
    pub(crate) fn device(&self) -> Result<(u32, u32)> {
        if !self.is_gnu() && !self.is_ustar() {
            return Ok((0, 0));
        }
        let part = |range, what| {
            u32::try_from(self.field(range, what)?)
                .map_err(|_| Error::Tar(format!("a {what} is out of range")))
        };
        Ok((
            part(329..337, "device number")?,
            part(337..345, "device number")?,
        ))
    }

    /// The sparse map of an old GNU header: the segments in it, the file's
    /// apparent size, and whether a block with more segments follows.
    pub(crate) fn gnu_sparse(&self) -> Result<(Vec<Segment>, u64, bool)> {
        let segments = segments(&self.0[386..482])?;
        let size = unsigned(self.field(483..495, "size")?, "size")?;
        Ok((segments, size, self.0[482] != 0))
    }

    fn field(&self, range: std::ops::Range<usize>, what: &str) -> Result<i64> {
        number(&self.0[range]).map_err(|()| Error::Tar(format!("a {what} is malformed")))
    }
}

/// A block of further segments of an old GNU sparse file, and whether one more
/// follows.
pub(crate) fn gnu_sparse_block(block: &[u8; BLOCK]) -> Result<(Vec<Segment>, bool)> {
    Ok((segments(&block[..504])?, block[504] != 0))
}

fn segments(fields: &[u8]) -> Result<Vec<Segment>> {
    let malformed = |()| Error::Tar("a sparse map is malformed".into());
    let mut out = Vec::new();
    for pair in fields.chunks_exact(24).take_while(|pair| pair[0] != 0) {
        let offset = unsigned(number(&pair[..12]).map_err(malformed)?, "sparse map")?;
        let len = unsigned(number(&pair[12..]).map_err(malformed)?, "sparse map")?;
        out.push(Segment { offset, len });
    }
    Ok(out)
}

fn unsigned(value: i64, what: &str) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::Tar(format!("a {what} is negative")))
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number: octal digits between blanks, or binary (two's complement, big
/// endian) when the first bit is set.
fn number(field: &[u8]) -> std::result::Result<i64, ()> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (i, &byte) in field.iter().enumerate() {
            let byte = if i == 0 && !negative {
                byte & 0x7f
            } else {
                byte
            };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| ());
    }
    let digits = field.trim_ascii_start();
    let end = digits
        .iter()
        .position(|&b| b == 0 || b == b' ')
        .unwrap_or(digits.len());
    digits[..end]
        .iter()
        .try_fold(0i64, |value, &digit| match digit {
            b'0'..=b'7' => value
                .checked_mul(8)
                .and_then(|v| v.checked_add(i64::from(digit - b'0')))
                .ok_or(()),
            _ => Err(()),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], Ok(0o644)),
            (b"   644 \0", Ok(0o644)),
            (b"\0\0\0\0\0\0\0\0", Ok(0)),
            (b"12345678", Err(())),
            (b"00x0000\0", Err(())),
            (b"\x80\0\0\0\0\0\x01\0", Ok(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Ok(-1)),
            (b"\x80\0\0\0\x01\0\0\0\0\0\0\0", Ok(1 << 56)),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", Err(())),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn a_wrong_checksum_is_found() {
        let mut header = tar::Header::new_ustar();
        header.set_path("a").unwrap();
        header.set_size(0);
        header.set_cksum();
        let mut block = *header.as_bytes();
        assert!(Header::parse(block).unwrap().is_some());
        block[0] ^= 1;
        assert!(Header::parse(block).is_err());
        assert!(Header::parse([0; BLOCK]).unwrap().is_none());
    }
}

//! Which compression a stream has, and reading through it.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Large enough that system calls do not show up in a profile.
pub(crate) const BUFFER: usize = 256 << 10;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), one or more members.
    Gzip,
    /// Zstandard (RFC 8878), one or more frames.
    Zstd,
}

impl Compression {
    /// Looks at the first bytes of a stream.
    pub fn detect(head: &[u8]) -> Result<Self> {
        match head {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame, which may stand in front.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(unsupported("xz")),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(unsupported("bzip2")),
            _ => Ok(Self::None),
        }
    }
}

fn unsupported(name: &str) -> Error {
    Error::Archive(format!(
        "it is compressed with {name}; gzip and zstd can be read"
    ))
}

/// A stream with its compression taken off.
pub(crate) enum Decoder<R: Read> {
    None(Peeked<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Peeked<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Peeked<R>>>),
}

/// A stream whose first bytes were looked at and put back.
pub(crate) type Peeked<R> = BufReader<io::Chain<Cursor<Vec<u8>>, R>>;

impl<R: Read> Decoder<R> {
    /// Finds out what `reader` holds. An empty stream is taken as it is.
    pub(crate) fn new(mut reader: R, what: &str) -> Result<Self> {
        let read = |source| Error::Read {
            what: what.to_owned(),
            source,
        };
        let mut head = Vec::with_capacity(8);
        Read::by_ref(&mut reader)
            .take(8)
            .read_to_end(&mut head)
            .map_err(read)?;
        let compression = Compression::detect(&head)?;
        let reader = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(reader));
        Ok(match compression {
            Compression::None => Self::None(reader),
            Compression::Gzip => Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(reader))),
            Compression::Zstd => Self::Zstd(Box::new(
                zstd::stream::read::Decoder::with_buffer(reader).map_err(read)?,
            )),
        })
    }

    /// The compressed stream below.
    pub(crate) fn inner(&mut self) -> &mut R {
        match self {
            Self::None(reader) => reader,
            Self::Gzip(reader) => reader.get_mut(),
            Self::Zstd(reader) => reader.get_mut(),
        }
        .get_mut()
        .get_mut()
        .1
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            // Past its buffer when `buf` is as large.
            Self::None(reader) => reader.read(buf),
            Self::Gzip(reader) => reader.read(buf),
            Self::Zstd(reader) => reader.read(buf),
        }
    }
}

/// Reads what is left.
pub(crate) fn drain(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let n = reader.fill_buf()?.len();
        if n == 0 {
            return Ok(());
        }
        reader.consume(n);
    }
}

/// Fills `buf` as far as the stream goes.
pub(crate) fn read_full(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match reader.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

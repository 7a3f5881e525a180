//! Archives as people have them: compressed by whatever tar knows. Layers are not;
//! registries and other tools read theirs by gzip and Zstandard alone.

use std::io::{self, BufReader, Cursor, Read};

use super::compress::BUFFER;

/// Bytes that tell an archive from other files: up to the magic of a tar header.
const HEAD: usize = 512;
/// Memory that xz may ask for, in KiB: its largest preset takes a quarter of it.
const XZ_MEMORY: u32 = 256 << 10;

/// How a stream begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

fn packing(head: &[u8]) -> Packing {
    match head {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Packing::Bzip2,
        _ => Packing::None,
    }
}

/// Whether a stream that begins like this is compressed.
pub fn is_packed(head: &[u8]) -> bool {
    packing(head) != Packing::None
}

/// Whether a stream that begins like this is a tar archive.
pub fn is_tar(head: &[u8]) -> bool {
    head.len() >= HEAD && &head[257..262] == b"ustar"
}

/// As much of a stream's beginning as the two above look at. It is gone from the
/// stream then.
///
/// # Errors
/// The stream can't be read.
pub fn head(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    reader.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Takes the compression off a stream, whichever it has: gzip, Zstandard, xz, bzip2.
///
/// # Errors
/// The stream can't be read.
pub fn unpacked<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    open(reader, true)
}

/// Takes only what layers can't have off a stream.
pub(crate) fn as_layer<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    open(reader, false)
}

fn open<'a>(mut reader: impl Read + 'a, all: bool) -> io::Result<Box<dyn Read + 'a>> {
    let head = head(&mut reader)?;
    let packing = packing(&head);
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(reader));
    Ok(match packing {
        Packing::Gzip if all => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Packing::Zstd if all => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
        Packing::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, XZ_MEMORY)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        Packing::None | Packing::Gzip | Packing::Zstd => Box::new(whole),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// The text as `xz --check=crc32` packs it: there is no encoder here.
    const XZ: &str = "fd377a585a0000016922de360200210116000000742fe5a3e0138700245d003a194b78103c19\
         2591b663b8ae658b7f283c018e3a4747eb59ba7d32c02ed20244c47c000092314f8000013c88\
         27000000df7f9e0c3e300d8b020000000001595a";

    #[test]
    fn streams_are_unpacked() {
        let text = b"text ".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&text).unwrap();
        let xz = hex::decode(XZ).unwrap();
        let twice = |one: Vec<u8>| [&one[..], &one].concat();
        for packed in [
            twice(gzip.finish().unwrap()),
            twice(bzip2.finish().unwrap()),
            twice(xz),
            twice(zstd::encode_all(&text[..], 1).unwrap()),
            twice(text.clone()),
        ] {
            assert_eq!(is_packed(&packed), !packed.starts_with(b"text"));
            let mut out = Vec::new();
            unpacked(&packed[..])
                .unwrap()
                .read_to_end(&mut out)
                .unwrap();
            assert_eq!(out, twice(text.clone()));
            let mut layer = as_layer(&packed[..]).unwrap();
            let head = head(&mut layer).unwrap();
            assert!(!matches!(packing(&head), Packing::Xz | Packing::Bzip2));
        }
        let mut empty = Vec::new();
        unpacked(&b""[..]).unwrap().read_to_end(&mut empty).unwrap();
        assert!(empty.is_empty() && !is_tar(&empty));
    }
}

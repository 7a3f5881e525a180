//! Recognizes kernel images and takes them apart.
//!
//! Sources: the kernel's Documentation/arch/x86/boot.rst (setup header of a
//! bzImage) and the System V ABI (ELF header).

use std::io::Read;

use crate::store::Format;

/// No kernel unpacks to more than this.
const LARGEST: u64 = 512 << 20;

/// What an image tells about itself.
#[derive(Debug, PartialEq)]
pub(crate) struct ImageInfo {
    pub(crate) format: Format,
    /// The release, as `uname -r` would print it, where it is found.
    pub(crate) release: Option<String>,
}

/// Tells what `image` is, or why it isn't a kernel.
pub(crate) fn inspect(image: &[u8]) -> Result<ImageInfo, String> {
    if image.starts_with(b"\x7fELF") {
        check_elf(image)?;
        return Ok(ImageInfo {
            format: Format::Vmlinux,
            release: banner_release(image),
        });
    }
    if get(image, 0x202, 4) == Some(b"HdrS") && get(image, 0x1fe, 2) == Some(b"\x55\xaa") {
        return Ok(ImageInfo {
            format: Format::BzImage,
            release: setup_release(image),
        });
    }
    Err("neither the magic of ELF nor that of a bzImage is in it".into())
}

fn check_elf(image: &[u8]) -> Result<(), String> {
    // EI_CLASS 2 is 64-bit, EI_DATA 1 little endian, e_machine 62 x86-64.
    if get(image, 4, 2) != Some(&[2, 1]) || u16_at(image, 0x12) != Some(62) {
        return Err("an ELF file, but not for x86-64".into());
    }
    // ET_EXEC, or ET_DYN for a kernel that relocates itself.
    match u16_at(image, 0x10) {
        Some(2 | 3) => {}
        _ => return Err("an ELF file that can't be executed".into()),
    }
    if banner_release(image).is_none() {
        return Err("an ELF file without Linux's banner".into());
    }
    Ok(())
}

/// Unpacks the vmlinux inside a bzImage, so that guests need not do it at each
/// start. `None` when it is packed in a way that isn't known here.
pub(crate) fn unpack_bzimage(image: &[u8]) -> Option<Vec<u8>> {
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        n => usize::from(n),
    };
    let payload = usize::try_from(u32_at(image, 0x248)?).ok()?;
    let length = usize::try_from(u32_at(image, 0x24c)?).ok()?;
    // The payload's offset counts from the start of protected-mode code, which
    // follows the boot sector and the setup sectors.
    let start = ((sectors + 1) * 512).checked_add(payload)?;
    let packed = image.get(start..start.checked_add(length)?)?;
    let mut out = Vec::new();
    let done = if packed.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(packed)
            .take(LARGEST)
            .read_to_end(&mut out)
    } else if packed.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        // One frame, followed by the unpacked size as four bytes.
        zstd::Decoder::with_buffer(packed)
            .ok()?
            .single_frame()
            .take(LARGEST)
            .read_to_end(&mut out)
    } else if packed.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        lzma_rust2::XzReader::new(packed, false)
            .take(LARGEST)
            .read_to_end(&mut out)
    } else {
        return None;
    };
    done.ok()?;
    check_elf(&out).ok()?;
    Some(out)
}

/// `kernel_version` of the setup header points to a string of the form
/// `6.1.0-50-cloud-amd64 (builder@host) ...`.
fn setup_release(image: &[u8]) -> Option<String> {
    let at = usize::from(u16_at(image, 0x20e)?);
    if at == 0 {
        return None;
    }
    word(image.get(at + 0x200..)?)
}

fn banner_release(image: &[u8]) -> Option<String> {
    // The format string of the banner has a % where the release would be.
    const BANNER: &[u8] = b"Linux version ";
    let mut rest = image;
    while let Some(at) = find(rest, BANNER) {
        rest = &rest[at + BANNER.len()..];
        if let Some(release) = word(rest).filter(|r| r.starts_with(|c: char| c.is_ascii_digit())) {
            return Some(release);
        }
    }
    None
}

/// The text up to a blank or a NUL, if it could be a release.
fn word(bytes: &[u8]) -> Option<String> {
    let end = bytes
        .iter()
        .take(65)
        .position(|b| *b == b' ' || *b == 0)
        .filter(|n| *n > 0)?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-_~".contains(c);
    text.chars().all(plain).then(|| text.to_owned())
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = hay.get(from..)?.iter().position(|b| *b == first) {
        if hay[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn get(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at + len)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(get(bytes, at, 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(get(bytes, at, 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// The smallest thing that passes for a vmlinux of this release.
    pub(crate) fn elf(release: &str) -> Vec<u8> {
        let mut image = vec![0; 64];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[0x10] = 2;
        image[0x12] = 62;
        image.extend_from_slice(b"Linux version %s (%s)\0");
        image.extend_from_slice(format!("Linux version {release} (a@b) #1\0").as_bytes());
        image
    }

    /// A bzImage with one setup sector around `payload`.
    fn bzimage(release: &str, payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[0x1f1] = 1;
        image[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        image[0x300..0x300 + release.len()].copy_from_slice(release.as_bytes());
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn tells_images_apart() {
        let of = |image: &[u8]| inspect(image).map(|i| (i.format, i.release));
        assert_eq!(
            of(&elf("6.12.1-isola")),
            Ok((Format::Vmlinux, Some("6.12.1-isola".into())))
        );
        assert_eq!(
            of(&bzimage("6.1.0-50-cloud (x)", b"")),
            Ok((Format::BzImage, Some("6.1.0-50-cloud".into())))
        );
        let mut foreign = elf("6.1");
        foreign[0x12] = 183;
        let mut object = elf("6.1");
        object[0x10] = 1;
        let program = &elf("6.1")[..64];
        for bad in [
            &b""[..],
            b"\x7fELF",
            b"#!/bin/sh\n",
            &foreign,
            &object,
            program,
        ] {
            assert!(inspect(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn unpacks_what_it_knows() {
        let kernel = elf("6.12.1");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gzip.write_all(&kernel).unwrap();
        let mut zst = zstd::encode_all(&kernel[..], 3).unwrap();
        zst.extend_from_slice(&[1, 2, 3, 4]);
        for packed in [gzip.finish().unwrap(), zst] {
            assert_eq!(unpack_bzimage(&bzimage("6", &packed)), Some(kernel.clone()));
            // Cut short, or with a length beyond the end.
            let whole = bzimage("6", &packed);
            assert_eq!(unpack_bzimage(&whole[..whole.len() - 9]), None);
        }
        assert_eq!(unpack_bzimage(&bzimage("6", b"\x02\x21\x4c\x18")), None);
        assert_eq!(unpack_bzimage(b"HdrS"), None);
    }

    #[test]
    fn releases_are_plain() {
        assert_eq!(word(b"6.12.1+deb12 x"), Some("6.12.1+deb12".into()));
        assert_eq!(word(b"../../x "), None);
        assert_eq!(word(b" "), None);
        assert_eq!(word(b"6.1"), None);
    }
}

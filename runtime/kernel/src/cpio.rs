//! Writes cpio archives in the "newc" format, the kernel's initramfs format
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Read, Write};

const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;

/// Writes one archive. All entries belong to root and are dated 1970, so that
/// the same content gives the same bytes.
pub struct Writer<W> {
    out: W,
    inode: u32,
    /// Bytes written so far, modulo 4: names and contents are padded to that.
    phase: u64,
}

struct Header<'a> {
    name: &'a str,
    mode: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        Writer {
            out,
            inode: 0,
            phase: 0,
        }
    }

    /// Adds a folder. Parents must have been added before.
    pub fn folder(&mut self, name: &str, permissions: u32) -> io::Result<()> {
        self.header(&Header {
            name,
            mode: S_IFDIR | permissions,
            size: 0,
            device: (0, 0),
        })
    }

    /// Adds a character device.
    pub fn char_device(
        &mut self,
        name: &str,
        permissions: u32,
        device: (u32, u32),
    ) -> io::Result<()> {
        self.header(&Header {
            name,
            mode: S_IFCHR | permissions,
            size: 0,
            device,
        })
    }

    /// Adds a file of exactly `size` bytes, which must be what `content` gives.
    pub fn file(
        &mut self,
        name: &str,
        permissions: u32,
        size: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        let short = || io::Error::other(format!("{name}: its size changed or is beyond 4 GiB"));
        self.header(&Header {
            name,
            mode: S_IFREG | permissions,
            size: u32::try_from(size).map_err(|_| short())?,
            device: (0, 0),
        })?;
        let copied = io::copy(&mut content.take(size), &mut self.out)?;
        if copied != size || content.read(&mut [0])? != 0 {
            return Err(short());
        }
        self.phase += size;
        self.pad()
    }

    /// Writes the trailer and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = u32::MAX;
        self.header(&Header {
            name: "TRAILER!!!",
            mode: 0,
            size: 0,
            device: (0, 0),
        })?;
        Ok(self.out)
    }

    fn header(&mut self, entry: &Header<'_>) -> io::Result<()> {
        self.inode = self.inode.wrapping_add(1);
        let fields = [
            self.inode,
            entry.mode,
            0, // uid
            0, // gid
            1, // links
            0, // time of modification
            entry.size,
            0, // device that holds the file: major
            0, // and minor
            entry.device.0,
            entry.device.1,
            u32::try_from(entry.name.len() + 1).map_err(io::Error::other)?,
            0, // checksum, unused in this variant
        ];
        let mut text = String::from("070701");
        for field in fields {
            text += &format!("{field:08x}");
        }
        text += entry.name;
        text.push('\0');
        self.out.write_all(text.as_bytes())?;
        self.phase += text.len() as u64;
        self.pad()
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = (4 - self.phase % 4) % 4;
        self.phase += missing;
        self.out
            .write_all(&[0; 3][..usize::try_from(missing).map_err(io::Error::other)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let mut writer = Writer::new(Vec::new());
        writer.folder("dev", 0o755).unwrap();
        writer.char_device("dev/console", 0o600, (5, 1)).unwrap();
        writer.file("init", 0o755, 5, &mut &b"hello"[..]).unwrap();
        let archive = writer.finish().unwrap();
        assert_eq!(archive.len() % 4, 0);
        let text = String::from_utf8_lossy(&archive);
        assert!(text.starts_with("07070100000001000041ed"), "{text}");
        let console = text.find("dev/console").unwrap();
        assert_eq!(&text[console - 110..console - 96], "07070100000002");
        assert_eq!(&text[console - 32..console - 8], "00000005000000010000000c");
        assert!(text.contains("hello\0\0\x00070701"), "padded to four");
    }

    #[test]
    fn a_file_of_another_size_is_an_error() {
        for size in [4, 6, 1 << 33] {
            let mut writer = Writer::new(Vec::new());
            assert!(
                writer.file("x", 0, size, &mut &b"hello"[..]).is_err(),
                "{size}"
            );
        }
    }
}

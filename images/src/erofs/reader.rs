//! Looks folders up in images that this crate wrote: just enough to tell what
//! a layer above takes over from them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{BLOCK, inode, writer};
use crate::error::{Error, Result};
use crate::layer::tree::{FolderMeta, Seen};

const DIRENT: usize = 12;
/// A folder larger than this is not one of ours: limits on names and entries
/// stand before it.
const MAX_FOLDER: u64 = 4 << 30;

struct Image {
    file: File,
    /// Where the inode area begins, in bytes.
    meta: u64,
    root: u64,
}

struct Inode {
    at: u64,
    inline: bool,
    xattr_size: usize,
    mode: u16,
    size: u64,
    block: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
}

/// What the image at `path` has under the name that these components make.
pub(crate) fn look(path: &Path, components: &[&[u8]]) -> Result<Seen> {
    let failed = |e| Error::io("read the layer", path, e);
    let image = Image::open(path).map_err(failed)?;
    let mut inode = image.inode(image.root).map_err(failed)?;
    for name in components {
        match image.child(&inode, name).map_err(failed)? {
            Some(nid) => inode = image.inode(nid).map_err(failed)?,
            None if image.is_opaque(&inode).map_err(failed)? => return Ok(Seen::Hidden),
            None => return Ok(Seen::Absent),
        }
        if inode.mode & 0o170_000 != 0o040_000 {
            return Ok(Seen::Hidden);
        }
    }
    let (uid, gid) = inode.owner;
    Ok(Seen::Folder(FolderMeta {
        mode: inode.mode & 0o7777,
        uid,
        gid,
        mtime: inode.mtime,
    }))
}

/// Gives the folder whose inode is at the byte `at` other metadata.
pub(crate) fn set_folder(file: &File, at: u64, meta: &FolderMeta) -> io::Result<()> {
    file.write_all_at(&(0o040_000 | meta.mode).to_le_bytes(), at + 4)?;
    let mut rest = Vec::with_capacity(20);
    rest.extend_from_slice(&meta.uid.to_le_bytes());
    rest.extend_from_slice(&meta.gid.to_le_bytes());
    rest.extend_from_slice(&meta.mtime.0.to_le_bytes());
    rest.extend_from_slice(&meta.mtime.1.to_le_bytes());
    file.write_all_at(&rest, at + 24)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

impl Image {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let block: [u8; 128] = read(&file, writer::SUPERBLOCK_OFFSET as u64)?;
        if u32_at(&block, 0) != writer::MAGIC {
            return Err(damaged());
        }
        let root = u64::from(u16_at(&block, 14));
        let meta = u64::from(u32_at(&block, 40)) * BLOCK as u64;
        Ok(Self { file, meta, root })
    }

    fn inode(&self, nid: u64) -> io::Result<Inode> {
        let offset = nid
            .checked_mul(writer::SLOT)
            .and_then(|offset| offset.checked_add(self.meta));
        let at = offset.ok_or_else(damaged)?;
        let raw: [u8; inode::SIZE] = read(&self.file, at)?;
        let count = usize::from(u16_at(&raw, 2));
        Ok(Inode {
            at,
            inline: u16_at(&raw, 0) >> 1 == inode::Layout::Inline as u16,
            xattr_size: if count == 0 { 0 } else { 12 + 4 * (count - 1) },
            mode: u16_at(&raw, 4),
            size: u64_at(&raw, 8),
            block: u32_at(&raw, 16),
            owner: (u32_at(&raw, 24), u32_at(&raw, 28)),
            mtime: (u64_at(&raw, 32) as i64, u32_at(&raw, 40)),
        })
    }

    /// The inode's number of a name in a folder.
    fn child(&self, folder: &Inode, wanted: &[u8]) -> io::Result<Option<u64>> {
        if folder.size > MAX_FOLDER {
            return Err(damaged());
        }
        let size = folder.size as usize;
        let tail = folder.at + (inode::SIZE + folder.xattr_size) as u64;
        let mut block = vec![0; BLOCK];
        for start in (0..size).step_by(BLOCK) {
            let used = BLOCK.min(size - start);
            let inline = folder.inline && used < BLOCK;
            let in_blocks = u64::from(folder.block) * BLOCK as u64 + start as u64;
            self.file
                .read_exact_at(&mut block[..used], if inline { tail } else { in_blocks })?;
            if let Some(nid) = find(&block[..used], wanted).ok_or_else(damaged)? {
                return Ok(Some(nid));
            }
        }
        Ok(None)
    }

    fn is_opaque(&self, folder: &Inode) -> io::Result<bool> {
        let mut xattrs = vec![0; folder.xattr_size];
        self.file
            .read_exact_at(&mut xattrs, folder.at + inode::SIZE as u64)?;
        // Only this crate writes attributes of overlayfs, with this one value.
        let entry = b"overlay.opaquey";
        Ok(xattrs.windows(entry.len()).any(|window| window == entry))
    }
}

/// Looks a name up in a block of a folder; `None` if the block is damaged.
fn find(block: &[u8], wanted: &[u8]) -> Option<Option<u64>> {
    let name_at = |i: usize| {
        Some(usize::from(u16_at(
            block.get(i * DIRENT..(i + 1) * DIRENT)?,
            8,
        )))
    };
    let count = name_at(0)? / DIRENT;
    for i in 0..count {
        let end = if i + 1 < count {
            name_at(i + 1)?
        } else {
            block.len()
        };
        let name = block.get(name_at(i)?..end)?;
        // The last name of a block ends at its padding.
        let name = name.split(|&b| b == 0).next()?;
        if name == wanted {
            return Some(Some(u64_at(&block[i * DIRENT..], 0)));
        }
    }
    Some(None)
}

fn read<const N: usize>(file: &File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

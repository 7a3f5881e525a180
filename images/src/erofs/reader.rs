//! Reads images that this crate wrote: names, metadata and data, without
//! mounting them.

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

/// A chunk without data in a chunk table.
const HOLE: u32 = u32::MAX;
/// The longest target of a symbolic link, in bytes (PATH_MAX).
const MAX_TARGET: u64 = 4096;

/// An opened image.
#[derive(Debug)]
pub(crate) struct Image {
    file: File,
    /// Where the inode area begins, in bytes.
    meta: u64,
    pub(crate) root: u64,
}

/// One inode.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    at: u64,
    inline: bool,
    chunked: bool,
    xattr_size: usize,
    /// As st_mode.
    pub(crate) mode: u16,
    pub(crate) size: u64,
    /// First block, device number or chunk format.
    block: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, u32),
}

impl Inode {
    pub(crate) fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// A device's number in two parts (new_decode_dev).
    pub(crate) fn device(&self) -> (u32, u32) {
        let raw = self.block;
        ((raw >> 8) & 0xfff, (raw & 0xff) | ((raw >> 12) & 0xf_ff00))
    }

    /// A character device 0:0, with which overlayfs hides a name.
    pub(crate) fn is_whiteout(&self) -> bool {
        self.mode & 0o170_000 == 0o020_000 && self.block == 0
    }
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
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let block: [u8; 128] = read(&file, writer::SUPERBLOCK_OFFSET as u64)?;
        if u32_at(&block, 0) != writer::MAGIC {
            return Err(damaged());
        }
        let root = u64::from(u16_at(&block, 14));
        let meta = u64::from(u32_at(&block, 40)) * BLOCK as u64;
        Ok(Self { file, meta, root })
    }

    pub(crate) fn inode(&self, nid: u64) -> io::Result<Inode> {
        let offset = nid
            .checked_mul(writer::SLOT)
            .and_then(|offset| offset.checked_add(self.meta));
        let at = offset.ok_or_else(damaged)?;
        let raw: [u8; inode::SIZE] = read(&self.file, at)?;
        let count = usize::from(u16_at(&raw, 2));
        Ok(Inode {
            at,
            inline: u16_at(&raw, 0) >> 1 == inode::Layout::Inline as u16,
            chunked: u16_at(&raw, 0) >> 1 == inode::Layout::Chunks as u16,
            xattr_size: if count == 0 { 0 } else { 12 + 4 * (count - 1) },
            mode: u16_at(&raw, 4),
            size: u64_at(&raw, 8),
            block: u32_at(&raw, 16),
            owner: (u32_at(&raw, 24), u32_at(&raw, 28)),
            mtime: (u64_at(&raw, 32) as i64, u32_at(&raw, 40)),
        })
    }

    /// The inode's number of a name in a folder.
    pub(crate) fn child(&self, folder: &Inode, wanted: &[u8]) -> io::Result<Option<u64>> {
        let mut found = None;
        self.blocks(folder, &mut |block| {
            found = entries(block)?.find_map(|(name, nid)| (name == wanted).then_some(nid));
            Some(found.is_some())
        })?;
        Ok(found)
    }

    /// All names of a folder but `.` and `..`, with their inodes' numbers.
    pub(crate) fn children(&self, folder: &Inode) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let mut found = Vec::new();
        self.blocks(folder, &mut |block| {
            let names = entries(block)?.filter(|(name, _)| !matches!(*name, b"." | b".."));
            found.extend(names.map(|(name, nid)| (name.to_vec(), nid)));
            Some(false)
        })?;
        Ok(found)
    }

    /// Calls `visit` with the blocks of a folder until it says true; nothing says
    /// that the block is damaged.
    fn blocks(
        &self,
        folder: &Inode,
        visit: &mut dyn FnMut(&[u8]) -> Option<bool>,
    ) -> io::Result<()> {
        if folder.size > MAX_FOLDER {
            return Err(damaged());
        }
        let size = folder.size as usize;
        let mut block = vec![0; BLOCK];
        for start in (0..size).step_by(BLOCK) {
            let used = BLOCK.min(size - start);
            self.file
                .read_exact_at(&mut block[..used], self.place(folder, start as u64, used))?;
            if visit(&block[..used]).ok_or_else(damaged)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where the bytes from `start`, a multiple of [`BLOCK`], are; `used` of them are
    /// wanted, no more than to the end of that block.
    fn place(&self, inode: &Inode, start: u64, used: usize) -> u64 {
        if inode.inline && used < BLOCK {
            return inode.at + (inode::SIZE + inode.xattr_size) as u64;
        }
        u64::from(inode.block) * BLOCK as u64 + start
    }

    /// Fills `out` with a file's bytes from `offset`; gives how many there were.
    pub(crate) fn read_at(&self, inode: &Inode, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        if offset >= inode.size || out.is_empty() {
            return Ok(0);
        }
        let left = usize::try_from(inode.size - offset).unwrap_or(usize::MAX);
        if inode.chunked {
            return self.read_chunk(inode, offset, left, out);
        }
        let whole = inode.size - inode.size % BLOCK as u64;
        let in_tail = inode.inline && offset >= whole;
        let at = match in_tail {
            true => inode.at + (inode::SIZE + inode.xattr_size) as u64 + (offset - whole),
            false => u64::from(inode.block) * BLOCK as u64 + offset,
        };
        let room = match inode.inline && !in_tail {
            true => usize::try_from(whole - offset).unwrap_or(usize::MAX),
            false => left,
        };
        let count = out.len().min(room);
        self.file.read_exact_at(&mut out[..count], at)?;
        Ok(count)
    }

    fn read_chunk(
        &self,
        inode: &Inode,
        offset: u64,
        left: usize,
        out: &mut [u8],
    ) -> io::Result<usize> {
        let bits = inode.block + u32::from(super::BLOCK_BITS);
        if bits > 40 {
            return Err(damaged());
        }
        let (number, inside) = (offset >> bits, offset & ((1 << bits) - 1));
        let table = inode.at + (inode::SIZE + inode.xattr_size) as u64;
        let block = u32_at(&read::<4>(&self.file, table + 4 * number)?, 0);
        let room = usize::try_from((1u64 << bits) - inside).unwrap_or(usize::MAX);
        let count = out.len().min(left).min(room);
        if block == HOLE {
            out[..count].fill(0);
        } else {
            let at = u64::from(block) * BLOCK as u64 + inside;
            self.file.read_exact_at(&mut out[..count], at)?;
        }
        Ok(count)
    }

    /// What a symbolic link points to.
    pub(crate) fn target(&self, inode: &Inode) -> io::Result<Vec<u8>> {
        if inode.size > MAX_TARGET {
            return Err(damaged());
        }
        let mut target = vec![0; inode.size as usize];
        let mut at = 0;
        while at < target.len() {
            match self.read_at(inode, at as u64, &mut target[at..])? {
                0 => return Err(damaged()),
                count => at += count,
            }
        }
        Ok(target)
    }

    /// The extended attributes but those of overlayfs.
    pub(crate) fn xattrs(&self, inode: &Inode) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut raw = vec![0; inode.xattr_size];
        self.file
            .read_exact_at(&mut raw, inode.at + inode::SIZE as u64)?;
        let mut xattrs = super::xattr::decode(&raw).ok_or_else(damaged)?;
        xattrs.retain(|(name, _)| !name.starts_with(b"trusted.overlay."));
        Ok(xattrs)
    }

    pub(crate) fn is_opaque(&self, folder: &Inode) -> io::Result<bool> {
        let mut xattrs = vec![0; folder.xattr_size];
        self.file
            .read_exact_at(&mut xattrs, folder.at + inode::SIZE as u64)?;
        // Only this crate writes attributes of overlayfs, with this one value.
        let entry = b"overlay.opaquey";
        Ok(xattrs.windows(entry.len()).any(|window| window == entry))
    }
}

/// The names of a block of a folder; `None` if the block is damaged.
fn entries(block: &[u8]) -> Option<impl Iterator<Item = (&[u8], u64)>> {
    let name_at = |i: usize| {
        Some(usize::from(u16_at(
            block.get(i * DIRENT..(i + 1) * DIRENT)?,
            8,
        )))
    };
    let count = name_at(0)? / DIRENT;
    let mut found = Vec::with_capacity(count);
    for i in 0..count {
        let end = if i + 1 < count {
            name_at(i + 1)?
        } else {
            block.len()
        };
        let name = block.get(name_at(i)?..end)?;
        // The last name of a block ends at its padding.
        let name = name.split(|&b| b == 0).next()?;
        found.push((name, u64_at(&block[i * DIRENT..], 0)));
    }
    Some(found.into_iter())
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

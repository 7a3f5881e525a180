//! Writes EROFS images, one per layer, uncompressed.
//!
//! Format: Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h of Linux.
//! The image is written front to back in one pass: block 0 is kept for the
//! superblock, the data of files follows as it streams by, each file at the
//! start of a block so that the page cache can map it; then the blocks of large
//! folders, and at the end all inodes, with small files, links and the tails of
//! folders inline. Only features of Linux 5.15 are used. The same tar stream
//! always gives the same image.

mod crc;
mod dirent;
mod inode;
mod reader;
mod sink;
mod writer;
mod xattr;

pub(crate) use reader::{Image, Inode, look, set_folder};
pub(crate) use sink::ErofsSink;
pub(crate) use writer::finish;
pub(crate) use xattr::{can_hold, size as xattr_size};

/// Bytes of a block, and of a page of memory.
pub(crate) const BLOCK: usize = 4096;
const BLOCK_BITS: u8 = 12;

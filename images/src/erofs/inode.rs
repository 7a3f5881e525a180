//! The extended on-disk inode (erofs_inode_extended, 64 bytes).

use crate::layer::tree::{Kind, Node};

pub(super) const SIZE: usize = 64;

/// How an inode's data is laid out (EROFS_INODE_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Plain = 0,
    /// The tail stands behind the inode.
    Inline = 2,
    Chunks = 4,
}

/// What an inode says apart from its metadata.
pub(super) struct Fields {
    pub(super) layout: Layout,
    pub(super) xattr_count: u16,
    pub(super) size: u64,
    /// First block, device number or chunk format.
    pub(super) union: u32,
    pub(super) number: u32,
    pub(super) nlink: u32,
}

/// The kind as st_mode has it.
fn format_bits(kind: &Kind) -> u16 {
    match kind {
        Kind::Fifo => 0o010_000,
        Kind::Char(..) | Kind::Whiteout => 0o020_000,
        Kind::Dir(_) => 0o040_000,
        Kind::Block(..) => 0o060_000,
        Kind::File { .. } => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
    }
}

/// The kind as a directory entry has it (EROFS_FT_*, equal to DT numbering of
/// ext4).
pub(super) fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Dir(_) => 2,
        Kind::Char(..) | Kind::Whiteout => 3,
        Kind::Block(..) => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// A device number in the kernel's 32-bit encoding (new_encode_dev).
pub(super) fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Appends the inode.
pub(super) fn encode(node: &Node, fields: &Fields, out: &mut Vec<u8>) {
    let meta = &node.meta;
    let format = 1 | ((fields.layout as u16) << 1);
    // Permissions of a link mean nothing and are 0777 on every file system.
    let permissions = if matches!(node.kind, Kind::Symlink(_)) {
        0o777
    } else {
        meta.mode
    };
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&fields.xattr_count.to_le_bytes());
    out.extend_from_slice(&(format_bits(&node.kind) | permissions).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&fields.size.to_le_bytes());
    out.extend_from_slice(&fields.union.to_le_bytes());
    out.extend_from_slice(&fields.number.to_le_bytes());
    out.extend_from_slice(&meta.uid.to_le_bytes());
    out.extend_from_slice(&meta.gid.to_le_bytes());
    out.extend_from_slice(&meta.mtime.0.to_le_bytes());
    out.extend_from_slice(&meta.mtime.1.to_le_bytes());
    out.extend_from_slice(&fields.nlink.to_le_bytes());
    out.extend_from_slice(&[0; 16]);
}

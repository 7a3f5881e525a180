//! Lays out and writes the inode area and the superblock.

use std::fs::File;

use super::dirent::{self, Name};
use super::inode::{self, Fields, Layout};
use super::sink::ErofsSink;
use super::{BLOCK, BLOCK_BITS, crc, xattr};
use crate::error::Result;
use crate::layer::build::Implied;
use crate::layer::tree::{Data, Kind, NodeId, ROOT, Tree};

pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
pub(super) const SUPERBLOCK_OFFSET: usize = 1024;
const COMPAT_CHECKSUM: u32 = 1;
const COMPAT_MTIME: u32 = 2;
const INCOMPAT_CHUNKED: u32 = 4;
/// A chunk without data in a chunk table.
const HOLE: u32 = u32::MAX;
/// Inodes are addressed in units of so many bytes.
pub(super) const SLOT: u64 = 32;
/// The root is not at number 0, which readdir(3) takes for a deleted file.
const ROOT_NID: u64 = 2;

/// What follows an inode or its blocks.
enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    Dir,
    Blocks(u32),
    Chunks { bits: u8, blocks: &'a [(u32, u32)] },
}

/// An inode's place.
struct Place {
    node: NodeId,
    /// From the start of the inode area.
    offset: u64,
    xattr_size: usize,
    size: u64,
    layout: Layout,
    /// The first block of data that is written after the streamed files.
    late_block: u64,
}

/// Completes an image: inodes, then the superblock. Gives also where the inodes
/// of folders are that the archive only implies.
pub(crate) fn finish(
    mut sink: ErofsSink,
    tree: &Tree,
    uuid: [u8; 16],
) -> Result<(File, Vec<Implied>)> {
    let late_start = u64::from(sink.block()?);
    let plan = Plan::new(tree, late_start);
    plan.write_late(&mut sink)?;
    let meta_block = sink.block()?;
    plan.write_inodes(&mut sink)?;
    let blocks = sink.block()?;
    let chunked = plan
        .places
        .iter()
        .any(|place| place.layout == Layout::Chunks);
    let superblock = superblock(meta_block, blocks, plan.places.len() as u64, chunked, uuid);
    let meta = u64::from(meta_block) * BLOCK as u64;
    let implied = tree.implied().into_iter().map(|(node, path)| {
        let place = &plan.places[plan.index[node as usize] as usize];
        Implied {
            path,
            inode: meta + place.offset,
        }
    });
    let implied = implied.collect();
    Ok((sink.close(&superblock)?, implied))
}

struct Plan<'a> {
    tree: &'a Tree,
    places: Vec<Place>,
    /// Nodes to indices of `places`.
    index: Vec<u32>,
}

impl<'a> Plan<'a> {
    /// Gives every file its place. Those of one folder lie together.
    fn new(tree: &'a Tree, late_start: u64) -> Self {
        let mut plan = Self {
            tree,
            places: Vec::new(),
            index: vec![u32::MAX; tree.len()],
        };
        let mut offset = ROOT_NID * SLOT;
        let mut late = late_start;
        plan.place(ROOT, &mut offset, &mut late);
        let mut todo = vec![ROOT];
        while let Some(id) = todo.pop() {
            let Some(dir) = tree.dir(id) else { continue };
            for &child in dir.children.values() {
                if plan.index[child as usize] == u32::MAX {
                    plan.place(child, &mut offset, &mut late);
                }
            }
            todo.extend(
                dir.children
                    .values()
                    .rev()
                    .filter(|&&child| tree.dir(child).is_some()),
            );
        }
        plan
    }

    fn place(&mut self, node: NodeId, offset: &mut u64, late: &mut u64) {
        const BLOCK: u64 = super::BLOCK as u64;
        let xattr_size = xattr::size(&self.xattrs(node));
        let head = (inode::SIZE + xattr_size) as u64;
        let size = self.size(node);
        let mut place = Place {
            node,
            offset: *offset,
            xattr_size,
            size,
            layout: Layout::Plain,
            late_block: *late,
        };
        // Bytes behind the inode, and whether they must be in its block.
        let behind = match self.body(node) {
            Body::Bytes(_) | Body::Dir => {
                // A tail stands in the block of its inode, or is no tail.
                let tail = size % BLOCK;
                if tail > 0 && head + tail <= BLOCK {
                    place.layout = Layout::Inline;
                    *late += size / BLOCK;
                    tail
                } else {
                    *late += size.div_ceil(BLOCK);
                    0
                }
            }
            Body::Chunks { bits, .. } => {
                place.layout = Layout::Chunks;
                4 * size.div_ceil(1 << bits)
            }
            Body::None | Body::Blocks(_) => 0,
        };
        let together = if place.layout == Layout::Inline {
            head + behind
        } else {
            head
        };
        if place.offset % BLOCK + together > BLOCK {
            place.offset = place.offset.next_multiple_of(BLOCK);
        }
        *offset = (place.offset + head + behind).next_multiple_of(SLOT);
        self.index[node as usize] = self.places.len() as u32;
        self.places.push(place);
    }

    fn body(&self, node: NodeId) -> Body<'a> {
        match &self.tree.node(node).kind {
            Kind::Dir(_) => Body::Dir,
            Kind::Symlink(target) => Body::Bytes(target),
            Kind::File {
                data: Data::Inline(bytes),
                ..
            } => Body::Bytes(bytes),
            Kind::File {
                data: Data::Blocks(start),
                ..
            } => Body::Blocks(*start),
            Kind::File {
                data: Data::Chunks { bits, blocks },
                ..
            } => Body::Chunks {
                bits: *bits,
                blocks,
            },
            _ => Body::None,
        }
    }

    fn size(&self, node: NodeId) -> u64 {
        match &self.tree.node(node).kind {
            Kind::Dir(_) => {
                let lengths: Vec<usize> = self
                    .names(node)
                    .iter()
                    .map(|(name, _)| name.len())
                    .collect();
                dirent::size(&lengths)
            }
            Kind::Symlink(target) => target.len() as u64,
            Kind::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// A folder's names in order, `.` and `..` among them.
    fn names(&self, node: NodeId) -> Vec<(&'a [u8], NodeId)> {
        let Some(dir) = self.tree.dir(node) else {
            return Vec::new();
        };
        let mut names: Vec<(&[u8], NodeId)> = Vec::with_capacity(dir.children.len() + 2);
        names.push((b".", node));
        names.push((b"..", self.tree.parent(node)));
        names.extend(dir.children.iter().map(|(name, &id)| (&**name, id)));
        names.sort_unstable();
        names
    }

    fn xattrs(&self, node: NodeId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut xattrs = self.tree.node(node).meta.xattrs.clone();
        if self.tree.dir(node).is_some_and(|dir| dir.opaque) {
            xattrs.push((b"trusted.overlay.opaque".to_vec(), b"y".to_vec()));
        }
        xattrs
    }

    fn nid(&self, node: NodeId) -> u64 {
        self.places[self.index[node as usize] as usize].offset / SLOT
    }

    /// The content of a folder, link or small file.
    fn content(&self, node: NodeId) -> Vec<u8> {
        match self.body(node) {
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Dir => {
                let names = self.names(node);
                let name = |&(name, id): &(&'a [u8], NodeId)| Name {
                    name,
                    nid: self.nid(id),
                    file_type: inode::file_type(&self.tree.node(id).kind),
                };
                dirent::encode(&names.iter().map(name).collect::<Vec<_>>())
            }
            _ => Vec::new(),
        }
    }

    /// Blocks of folders and of what was too long to stand behind its inode.
    fn write_late(&self, sink: &mut ErofsSink) -> Result<()> {
        for place in &self.places {
            let whole = match (self.body(place.node), place.layout) {
                (Body::Bytes(_) | Body::Dir, Layout::Plain) => place.size,
                (Body::Bytes(_) | Body::Dir, _) => place.size - place.size % BLOCK as u64,
                _ => 0,
            };
            if whole > 0 {
                sink.append(&self.content(place.node)[..whole as usize])?;
                sink.align()?;
            }
        }
        Ok(())
    }

    fn write_inodes(&self, sink: &mut ErofsSink) -> Result<()> {
        let start = sink.position();
        let mut out = Vec::new();
        for (number, place) in self.places.iter().enumerate() {
            out.clear();
            let gap = start + place.offset - sink.position();
            out.resize(gap as usize, 0);
            self.inode(place, number as u32 + 1, &mut out);
            sink.append(&out)?;
            if let Body::Chunks { bits, blocks } = self.body(place.node) {
                write_chunk_table(place.size, bits, blocks, sink)?;
            }
        }
        sink.align()
    }

    fn inode(&self, place: &Place, number: u32, out: &mut Vec<u8>) {
        let node = self.tree.node(place.node);
        let body = self.body(place.node);
        let union = match (&node.kind, &body) {
            (Kind::Char(major, minor) | Kind::Block(major, minor), _) => {
                inode::device(*major, *minor)
            }
            (_, Body::Blocks(start)) => *start,
            (_, Body::Chunks { bits, .. }) => u32::from(bits - BLOCK_BITS),
            (_, Body::Bytes(_) | Body::Dir) => place.late_block as u32,
            _ => 0,
        };
        let fields = Fields {
            layout: place.layout,
            xattr_count: xattr::count(place.xattr_size),
            size: place.size,
            union,
            number,
            nlink: self.tree.nlink(place.node),
        };
        inode::encode(node, &fields, out);
        xattr::encode(&self.xattrs(place.node), out);
        if place.layout == Layout::Inline {
            let content = self.content(place.node);
            out.extend_from_slice(&content[content.len() / BLOCK * BLOCK..]);
        }
    }
}

fn write_chunk_table(
    size: u64,
    bits: u8,
    blocks: &[(u32, u32)],
    sink: &mut ErofsSink,
) -> Result<()> {
    let mut blocks = blocks.iter().peekable();
    for number in 0..size.div_ceil(1 << bits) {
        let block = blocks.next_if(|&&(chunk, _)| u64::from(chunk) == number);
        sink.append(&block.map_or(HOLE, |&(_, block)| block).to_le_bytes())?;
    }
    Ok(())
}

/// The first block: zeros, then the superblock (erofs_super_block).
fn superblock(meta_block: u32, blocks: u32, inodes: u64, chunked: bool, uuid: [u8; 16]) -> Vec<u8> {
    let mut out = vec![0; SUPERBLOCK_OFFSET];
    let checksum_at = out.len() + 4;
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&0u32.to_le_bytes());
    out.extend_from_slice(&(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
    out.extend_from_slice(&[BLOCK_BITS, 0]);
    out.extend_from_slice(&(ROOT_NID as u16).to_le_bytes());
    out.extend_from_slice(&inodes.to_le_bytes());
    // Time of the build, left at 0 so that the image depends on its tar alone.
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&blocks.to_le_bytes());
    out.extend_from_slice(&meta_block.to_le_bytes());
    // The area of shared attributes, which is empty.
    out.extend_from_slice(&0u32.to_le_bytes());
    out.extend_from_slice(&uuid);
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&if chunked { INCOMPAT_CHUNKED } else { 0 }.to_le_bytes());
    out.resize(BLOCK, 0);
    let checksum = crc::crc32c(&out[SUPERBLOCK_OFFSET..]);
    out[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
    out
}

//! From a layer's tar stream to its file tree.

use std::io::BufRead;

use super::header::Segment;
use super::tar::{Entry, EntryKind, TarReader};
use super::tree::{Data, Kind, Meta, Tree};
use crate::error::{Error, Result};
use crate::limits::Budget;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that AUFS kept for itself.
const AUFS: &[u8] = b".wh..wh.";

/// Bytes and count of attributes that one file may have (the kernel's own
/// bounds: XATTR_NAME_MAX, XATTR_SIZE_MAX).
const MAX_XATTR_NAME: usize = 255;
const MAX_XATTR_VALUE: usize = 65535;
/// Longest target of a symbolic link (PATH_MAX without its NUL).
const MAX_TARGET: usize = 4095;

/// Takes the data of files as it streams by.
pub(crate) trait DataSink {
    /// A file of `size` bytes without holes. `next` gives its data in pieces,
    /// an empty one at the end.
    fn dense(&mut self, size: u64, source: &mut dyn Source) -> Result<Data>;
    /// A file of `size` bytes that has data only in `segments`.
    fn sparse(&mut self, size: u64, segments: &[Segment], source: &mut dyn Source) -> Result<Data>;
    /// Bytes that storing such a sparse file takes.
    fn sparse_cost(&self, size: u64, segments: &[Segment]) -> u64;
}

/// A file's data, piece by piece.
pub(crate) trait Source {
    /// The next piece, empty at the end.
    fn piece(&mut self) -> Result<&[u8]>;
    /// Takes `n` bytes of that piece.
    fn take(&mut self, n: usize);
}

impl<R: BufRead> Source for TarReader<R> {
    fn piece(&mut self) -> Result<&[u8]> {
        self.data()
    }

    fn take(&mut self, n: usize) {
        self.consume(n);
    }
}

/// Reads a whole layer.
pub(crate) fn read_layer<R: BufRead>(
    tar: &mut TarReader<R>,
    sink: &mut dyn DataSink,
    budget: &mut Budget<'_>,
) -> Result<Tree> {
    let mut tree = Tree::new();
    while let Some(entry) = tar.next_entry()? {
        budget.entry()?;
        budget.metadata(entry.weight())?;
        add(&mut tree, entry, tar, sink, budget)?;
    }
    Ok(tree)
}

fn add<R: BufRead>(
    tree: &mut Tree,
    entry: Entry,
    tar: &mut TarReader<R>,
    sink: &mut dyn DataSink,
    budget: &mut Budget<'_>,
) -> Result<()> {
    let limits = budget.limits;
    let nodes = tree.len();
    let slot = tree.slot(&entry.path, limits)?;
    // Folders that are only implied count too: a long path makes many.
    budget.metadata((tree.len() - nodes) * 128)?;
    let Some(slot) = slot else {
        if entry.kind != EntryKind::Dir {
            return Err(Error::entry(&entry.path, "the root must be a folder"));
        }
        tree.put_dir(None, meta(&entry)?);
        return Ok(());
    };
    if slot.name().starts_with(WHITEOUT) {
        return whiteout(tree, slot, &entry);
    }
    match entry.kind {
        EntryKind::Dir => tree.put_dir(Some(slot), meta(&entry)?),
        EntryKind::HardLink => tree.put_link(slot, &entry.path, &entry.link, limits)?,
        EntryKind::File => {
            let meta = meta(&entry)?;
            let data = file(&entry, tar, sink, budget)?;
            tree.put(
                slot,
                meta,
                Kind::File {
                    size: entry.size,
                    data,
                },
            );
        }
        EntryKind::Symlink => {
            let meta = meta(&entry)?;
            check_target(&entry)?;
            tree.put(slot, meta, Kind::Symlink(entry.link));
        }
        EntryKind::Char | EntryKind::Block => {
            let (major, minor) = device(&entry)?;
            let char = entry.kind == EntryKind::Char;
            let kind = if char {
                Kind::Char(major, minor)
            } else {
                Kind::Block(major, minor)
            };
            tree.put(slot, meta(&entry)?, kind);
        }
        EntryKind::Fifo => tree.put(slot, meta(&entry)?, Kind::Fifo),
    }
    Ok(())
}

/// OCI image specification, "Image Layer Filesystem Changeset", whiteouts.
fn whiteout(tree: &mut Tree, slot: super::tree::Slot, entry: &Entry) -> Result<()> {
    if slot.name() == OPAQUE {
        tree.put_opaque(&slot);
        return Ok(());
    }
    if slot.name().starts_with(AUFS) {
        return Ok(());
    }
    let name = slot.name()[WHITEOUT.len()..].to_vec();
    if matches!(name.as_slice(), b"" | b"." | b"..") {
        return Err(Error::entry(&entry.path, "it is a whiteout without a name"));
    }
    tree.put_whiteout(slot.sibling(&name));
    Ok(())
}

fn file<R: BufRead>(
    entry: &Entry,
    tar: &mut TarReader<R>,
    sink: &mut dyn DataSink,
    budget: &mut Budget<'_>,
) -> Result<Data> {
    if entry.size > budget.limits.file_size {
        let what = format!("the size of `{}`", entry.path.escape_ascii());
        return Err(Error::limit(
            what,
            format!("{} bytes", budget.limits.file_size),
        ));
    }
    match &entry.sparse {
        Some(segments) => {
            budget.stored(sink.sparse_cost(entry.size, segments))?;
            sink.sparse(entry.size, segments, tar)
        }
        None => {
            budget.stored(entry.size)?;
            sink.dense(entry.size, tar)
        }
    }
}

fn check_target(entry: &Entry) -> Result<()> {
    if entry.link.is_empty() {
        return Err(Error::entry(
            &entry.path,
            "it is a symbolic link to nothing",
        ));
    }
    if entry.link.len() > MAX_TARGET {
        return Err(Error::limit(
            "the target of a symbolic link",
            format!("{MAX_TARGET} bytes"),
        ));
    }
    if entry.link.contains(&0) {
        return Err(Error::entry(&entry.path, "its target has a NUL byte"));
    }
    Ok(())
}

/// Device numbers as the kernel's 32-bit encoding holds them.
fn device(entry: &Entry) -> Result<(u32, u32)> {
    let (major, minor) = entry.device;
    if major > 0xfff || minor > 0xf_ffff {
        return Err(Error::entry(
            &entry.path,
            format!("device {major}:{minor} cannot exist on Linux"),
        ));
    }
    Ok((major, minor))
}

fn meta(entry: &Entry) -> Result<Meta> {
    let id = |value: i64, what: &str| {
        // 2^32-1 means "no change" to chown(2) and is nobody's number.
        u32::try_from(value)
            .ok()
            .filter(|&id| id != u32::MAX)
            .ok_or_else(|| {
                Error::entry(&entry.path, format!("{value} is not a number of a {what}"))
            })
    };
    Ok(Meta {
        mode: (entry.mode & 0o7777) as u16,
        uid: id(entry.uid, "user")?,
        gid: id(entry.gid, "group")?,
        mtime: entry.mtime,
        xattrs: xattrs(entry)?,
    })
}

/// The attributes that come along. Left out are overlayfs's own, with which a
/// layer could steer the mount that it becomes part of, and the security label
/// that the machine which built the image happened to give.
fn xattrs(entry: &Entry) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut kept = Vec::new();
    for (name, value) in &entry.xattrs {
        let dropped = [
            &b"trusted.overlay."[..],
            b"user.overlay.",
            b"security.selinux",
        ];
        let dropped = dropped.iter().any(|prefix| name.starts_with(prefix));
        // Other systems' attributes, as macOS puts into its archives.
        if dropped || !crate::erofs::can_hold(name) {
            continue;
        }
        if name.len() > MAX_XATTR_NAME || value.len() > MAX_XATTR_VALUE {
            let reason = format!("its attribute `{}` is too long", name.escape_ascii());
            return Err(Error::entry(&entry.path, reason));
        }
        kept.push((name.clone(), value.clone()));
    }
    if crate::erofs::xattr_size(&kept) > MAX_XATTR_VALUE {
        return Err(Error::entry(&entry.path, "its attributes are too long"));
    }
    kept.sort();
    Ok(kept)
}

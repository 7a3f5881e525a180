//! The file tree of one layer, held in memory while its tar stream passes by.
//!
//! Paths of the archive are resolved in this tree alone, never on the host, so
//! no entry can reach outside: what tries to is refused.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::path::split;
use crate::error::{Error, Result};
use crate::limits::Limits;

pub(crate) type NodeId = u32;
pub(crate) const ROOT: NodeId = 0;

/// What a layer takes over for a folder that it only implies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FolderMeta {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
}

/// What a layer has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Folder(FolderMeta),
    /// No folder, and it hides those of the layers below.
    Hidden,
    Absent,
}

/// What every kind of file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permissions with set-user-id, set-group-id and sticky bits.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    /// A folder that the archive implies but does not hold.
    fn implied() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: Vec::new(),
        }
    }
}

/// Where a file's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// Here.
    Inline(Vec<u8>),
    /// In an EROFS image, from this block on.
    Blocks(u32),
    /// In an EROFS image, in chunks of `1 << bits` bytes; pairs of a chunk's
    /// number and its first block, holes left out.
    Chunks { bits: u8, blocks: Vec<(u32, u32)> },
    /// In a file of this number in the folder where a layer is unpacked.
    Staged(u64),
}

#[derive(Debug)]
pub(crate) enum Kind {
    Dir(Dir),
    File {
        size: u64,
        data: Data,
    },
    Symlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    /// Hides a name of the layers below.
    Whiteout,
}

#[derive(Debug, Default)]
pub(crate) struct Dir {
    /// In the order in which EROFS wants them.
    pub(crate) children: BTreeMap<Box<[u8]>, NodeId>,
    /// Hides all that the layers below have here.
    pub(crate) opaque: bool,
    /// No entry of the archive tells of it.
    implied: bool,
    parent: NodeId,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) meta: Meta,
    pub(crate) kind: Kind,
    /// Names that lead here; for a folder see [`Tree::nlink`].
    pub(crate) names: u32,
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

/// A place for an entry: its folder and its name there.
pub(crate) struct Slot {
    pub(super) dir: NodeId,
    pub(super) name: Box<[u8]>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let root = Node {
            meta: Meta::implied(),
            kind: Kind::Dir(Dir {
                implied: true,
                ..Dir::default()
            }),
            names: 1,
        };
        Self { nodes: vec![root] }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    /// Nodes ever made, those that were replaced included.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The folder's content, if it is a folder.
    pub(crate) fn dir(&self, id: NodeId) -> Option<&Dir> {
        match &self.node(id).kind {
            Kind::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    fn dir_mut(&mut self, id: NodeId) -> Option<&mut Dir> {
        match &mut self.nodes[id as usize].kind {
            Kind::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    pub(crate) fn parent(&self, id: NodeId) -> NodeId {
        self.dir(id).map_or(ROOT, |dir| dir.parent)
    }

    /// Folders that no entry tells of and whose metadata is that of the layers
    /// below, each after the one it is in.
    pub(crate) fn implied(&self) -> Vec<(NodeId, PathBuf)> {
        let mut found = Vec::new();
        let mut todo = vec![(ROOT, PathBuf::new())];
        while let Some((id, path)) = todo.pop() {
            // Below an opaque folder the other layers cannot be seen.
            let Some(dir) = self.dir(id).filter(|dir| !dir.opaque) else {
                continue;
            };
            let folders = dir
                .children
                .iter()
                .filter(|&(_, &child)| self.dir(child).is_some());
            todo.extend(folders.map(|(name, &child)| (child, path.join(OsStr::from_bytes(name)))));
            if dir.implied {
                found.push((id, path));
            }
        }
        found
    }

    /// st_nlink: for a folder 2 and its subfolders.
    pub(crate) fn nlink(&self, id: NodeId) -> u32 {
        let node = self.node(id);
        match &node.kind {
            Kind::Dir(dir) => {
                let is_dir = |&&child: &&NodeId| matches!(self.node(child).kind, Kind::Dir(_));
                2 + dir.children.values().filter(is_dir).count() as u32
            }
            _ => node.names,
        }
    }

    pub(super) fn make_dir(&mut self, parent: NodeId, name: Box<[u8]>, opaque: bool) -> NodeId {
        let id = self.push(
            Meta::implied(),
            Kind::Dir(Dir {
                opaque,
                implied: true,
                parent,
                ..Dir::default()
            }),
        );
        if let Some(dir) = self.dir_mut(parent) {
            dir.children.insert(name, id);
        }
        id
    }

    fn push(&mut self, meta: Meta, kind: Kind) -> NodeId {
        let id = self.nodes.len() as NodeId;
        self.nodes.push(Node {
            meta,
            kind,
            names: 1,
        });
        id
    }

    /// Puts a folder at `slot`; one that is there keeps its content.
    pub(crate) fn put_dir(&mut self, slot: Option<Slot>, meta: Meta) {
        let old = match &slot {
            None => Some(ROOT),
            Some(slot) => self.lookup(slot),
        };
        if let Some(id) = old
            && let Some(dir) = self.dir_mut(id)
        {
            dir.implied = false;
            self.nodes[id as usize].meta = meta;
            return;
        }
        let Some(slot) = slot else { return };
        // What the folder replaces, a whiteout or a file, hid the layers below.
        let dir = Dir {
            opaque: old.is_some(),
            parent: slot.dir,
            ..Dir::default()
        };
        self.put(slot, meta, Kind::Dir(dir));
    }

    /// Puts anything but a folder at `slot`, in place of what is there.
    pub(crate) fn put(&mut self, slot: Slot, meta: Meta, kind: Kind) {
        let id = self.push(meta, kind);
        self.link(slot, id);
    }

    /// Gives a file of this layer a further name.
    pub(crate) fn put_link(
        &mut self,
        slot: Slot,
        path: &[u8],
        target: &[u8],
        limits: &Limits,
    ) -> Result<()> {
        let id = self.find(path, target, limits)?;
        if self.dir(id).is_some() {
            return Err(Error::entry(path, "it is a hard link to a folder"));
        }
        if self.lookup(&slot) == Some(id) {
            return Ok(());
        }
        self.nodes[id as usize].names += 1;
        self.link(slot, id);
        Ok(())
    }

    fn find(&mut self, path: &[u8], target: &[u8], limits: &Limits) -> Result<NodeId> {
        let shown = target.escape_ascii();
        let in_target = |e| match e {
            Error::Entry { reason, .. } => Error::entry(
                path,
                format!("it is a hard link to `{shown}`, which is refused: {reason}"),
            ),
            other => other,
        };
        let mut components = split(target, limits).map_err(in_target)?;
        let missing = || {
            Error::entry(
                path,
                format!("it is a hard link to `{shown}`, which is not in this layer"),
            )
        };
        let Some(name) = components.pop() else {
            return Err(Error::entry(path, "it is a hard link to the root"));
        };
        let count = self.nodes.len();
        let dir = self.walk(target, components).map_err(in_target)?;
        if self.nodes.len() != count {
            return Err(missing());
        }
        let id = self
            .dir(dir)
            .and_then(|dir| dir.children.get(name))
            .copied()
            .ok_or_else(missing)?;
        if matches!(self.node(id).kind, Kind::Whiteout) {
            Err(missing())
        } else {
            Ok(id)
        }
    }

    /// Hides `name` of the layers below. What this layer has there stays.
    pub(crate) fn put_whiteout(&mut self, slot: Slot) {
        match self.lookup(&slot) {
            None => self.put(
                slot,
                Meta {
                    mode: 0,
                    ..Meta::implied()
                },
                Kind::Whiteout,
            ),
            Some(id) => self.set_opaque(id),
        }
    }

    /// Hides all that the layers below have in the folder of `slot`.
    pub(crate) fn put_opaque(&mut self, slot: &Slot) {
        self.set_opaque(slot.dir);
    }

    fn set_opaque(&mut self, id: NodeId) {
        if let Some(dir) = self.dir_mut(id) {
            dir.opaque = true;
        }
    }

    fn lookup(&self, slot: &Slot) -> Option<NodeId> {
        self.dir(slot.dir)
            .and_then(|dir| dir.children.get(&slot.name))
            .copied()
    }

    fn link(&mut self, slot: Slot, id: NodeId) {
        let old = self
            .dir_mut(slot.dir)
            .and_then(|dir| dir.children.insert(slot.name, id));
        if let Some(old) = old {
            self.unlink(old);
        }
    }

    /// Takes a name away from `id` and, from a folder that goes, from all in it.
    fn unlink(&mut self, id: NodeId) {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            let node = &mut self.nodes[id as usize];
            node.names -= 1;
            if node.names > 0 {
                continue;
            }
            match std::mem::replace(&mut node.kind, Kind::Fifo) {
                Kind::Dir(dir) => todo.extend(dir.children.into_values()),
                _ => node.meta.xattrs = Vec::new(),
            }
        }
    }
}

impl Slot {
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Another name in the same folder.
    pub(crate) fn sibling(self, name: &[u8]) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }
}

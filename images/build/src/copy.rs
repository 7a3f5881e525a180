//! COPY and ADD of files: which files, and where to. The plan is made first; its key
//! decides whether anything is read twice.

mod paths;

use isola_images::NewEntry;
use isola_images::files::{FileKind, FileMeta, Files};
use isola_images::making::LayerWriter;
pub(crate) use paths::{check_name, clamp, clean, find, join, kind};
use std::collections::BTreeSet;
use std::io::Read;

use crate::error::{Error, Kind, Result};
use crate::ignore::Ignore;
use crate::key::Key;
use crate::owner::Chmod;
use crate::tree::{Node, Tree, shown};

/// One entry of the layer that is planned.
pub(crate) struct Put<'a> {
    pub(crate) path: Vec<u8>,
    pub(crate) meta: FileMeta,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    content: Content<'a>,
}

enum Content<'a> {
    /// Folders and such.
    None,
    Link(Vec<u8>),
    Bytes(&'a [u8]),
    Node(&'a Tree, Node),
}

/// What holds for all files of one instruction.
pub(crate) struct Rules {
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) chmod: Option<Chmod>,
    pub(crate) exclude: Ignore,
    /// Time of new folders and files, in seconds since 1970.
    pub(crate) now: i64,
    /// Links at the destination are not followed.
    pub(crate) link: bool,
}

/// A layer that is planned.
pub(crate) struct Plan<'a> {
    lower: &'a Files,
    rules: Rules,
    puts: Vec<Put<'a>>,
    /// Paths that stand in it.
    known: BTreeSet<Vec<u8>>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(lower: &'a Files, rules: Rules) -> Plan<'a> {
        Plan {
            lower,
            rules,
            puts: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// Where a destination really is: links in the image are followed.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>> {
        let mut at = Vec::new();
        let mut parts = clean(path).into_iter();
        for part in parts.by_ref() {
            let next = join(&at, &part);
            match self.lower.lookup(&next, !self.rules.link)? {
                Some(found) => at = found.path,
                None => {
                    at = next;
                    break;
                }
            }
        }
        for part in parts {
            at = join(&at, &part);
        }
        Ok(at)
    }

    /// Whether there is a folder in the image, or in the plan.
    pub(crate) fn is_folder(&self, path: &[u8]) -> Result<bool> {
        let planned = self.puts.iter().rev().find(|put| put.path == path);
        if let Some(put) = planned {
            return Ok(put.meta.kind == FileKind::Dir);
        }
        let found = self.lower.lookup(path, true)?;
        Ok(found.is_some_and(|found| found.meta.kind == FileKind::Dir))
    }

    /// Makes sure that a folder is there, with all above it.
    pub(crate) fn folder(&mut self, path: &[u8]) -> Result<()> {
        let mut at = Vec::new();
        for part in clean(path) {
            at = join(&at, &part);
            if self.known.contains(&at) {
                continue;
            }
            match self.lower.lookup(&at, false)? {
                Some(found) if found.meta.kind == FileKind::Dir => {
                    let xattrs = self.lower.xattrs(&found)?;
                    self.put(at.clone(), found.meta, xattrs, Content::None);
                }
                Some(_) => {
                    let message = format!("/{} in the image is no folder", shown(&at));
                    return Err(Error::new(Kind::Invalid, message));
                }
                None => {
                    let (uid, gid) = self.rules.owner.unwrap_or((0, 0));
                    let meta = FileMeta {
                        kind: FileKind::Dir,
                        mode: 0o755,
                        uid,
                        gid,
                        mtime: (self.rules.now, 0),
                        size: 0,
                        device: (0, 0),
                    };
                    self.put(at.clone(), meta, Vec::new(), Content::None);
                }
            }
        }
        Ok(())
    }

    fn parent(&mut self, path: &[u8]) -> Result<()> {
        match path.iter().rposition(|&b| b == b'/') {
            Some(at) => self.folder(&path[..at]),
            None => Ok(()),
        }
    }

    fn put(
        &mut self,
        path: Vec<u8>,
        mut meta: FileMeta,
        xattrs: Vec<(Vec<u8>, Vec<u8>)>,
        content: Content<'a>,
    ) {
        meta.mtime.1 = 0;
        self.known.insert(path.clone());
        self.puts.push(Put {
            path,
            meta,
            xattrs,
            content,
        });
    }

    /// A file with this content.
    pub(crate) fn bytes(
        &mut self,
        path: &[u8],
        bytes: &'a [u8],
        mode: u32,
        mtime: i64,
    ) -> Result<()> {
        check_name(path)?;
        self.parent(path)?;
        let (uid, gid) = self.rules.owner.unwrap_or((0, 0));
        let mode = match &self.rules.chmod {
            Some(chmod) => chmod.apply(mode, FileKind::File),
            None => mode,
        };
        let meta = FileMeta {
            kind: FileKind::File,
            mode,
            uid,
            gid,
            mtime: (mtime, 0),
            size: bytes.len() as u64,
            device: (0, 0),
        };
        self.put(path.to_vec(), meta, Vec::new(), Content::Bytes(bytes));
        Ok(())
    }

    /// A file that is no folder, to exactly this path.
    pub(crate) fn file(&mut self, tree: &'a Tree, node: Node, path: &[u8]) -> Result<()> {
        check_name(path)?;
        if self.is_folder(path)? {
            let message = format!(
                "/{} is a folder in the image: {} can't take its place",
                shown(path),
                shown(&node.path)
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        self.parent(path)?;
        let meta = self.meta(tree, &node);
        let xattrs = tree.xattrs(&node)?;
        let content = match meta.kind {
            FileKind::Symlink => Content::Link(tree.target(&node)?),
            FileKind::File => Content::Node(tree, node),
            _ => Content::None,
        };
        self.put(path.to_vec(), meta, xattrs, content);
        Ok(())
    }

    /// All that is in a folder, to a folder. One that is there keeps its owner and mode.
    pub(crate) fn content(&mut self, tree: &'a Tree, folder: &Node, path: &[u8]) -> Result<()> {
        if !path.is_empty() && !self.is_folder(path)? {
            self.parent(path)?;
            if self.lower.lookup(path, false)?.is_some() {
                let message = format!("/{} in the image is no folder", shown(path));
                return Err(Error::new(Kind::Invalid, message));
            }
            let meta = self.meta(tree, folder);
            let xattrs = tree.xattrs(folder)?;
            self.put(path.to_vec(), meta, xattrs, Content::None);
        } else {
            self.folder(path)?;
        }
        self.inside(tree, folder, path, &folder.path.clone())
    }

    fn inside(&mut self, tree: &'a Tree, folder: &Node, path: &[u8], base: &[u8]) -> Result<()> {
        for node in tree.list(folder)? {
            let relative = match base.is_empty() {
                true => &node.path[..],
                false => &node.path[base.len() + 1..],
            };
            let excluded = self.excludes(relative);
            if excluded && !(node.meta.kind == FileKind::Dir && self.rules.exclude.brings_back()) {
                continue;
            }
            let to = join(path, node.name());
            if node.meta.kind != FileKind::Dir {
                self.file(tree, node, &to)?;
                continue;
            }
            check_name(&to)?;
            if let Some(found) = self.lower.lookup(&to, false)?
                && found.meta.kind != FileKind::Dir
            {
                let message = format!(
                    "/{} in the image is no folder: the folder {} can't be copied there",
                    shown(&to),
                    shown(&node.path)
                );
                return Err(Error::new(Kind::Invalid, message));
            }
            if !excluded {
                let meta = self.meta(tree, &node);
                let xattrs = tree.xattrs(&node)?;
                if self.known.contains(&to) {
                    self.puts.retain(|put| put.path != to);
                }
                self.put(to.clone(), meta, xattrs, Content::None);
            }
            self.inside(tree, &node, &to, base)?;
        }
        Ok(())
    }

    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        self.rules.exclude.excludes(&String::from_utf8_lossy(path))
    }

    fn meta(&self, tree: &Tree, node: &Node) -> FileMeta {
        let mut meta = tree.meta(node);
        if let Some((uid, gid)) = self.rules.owner {
            (meta.uid, meta.gid) = (uid, gid);
        }
        if let Some(chmod) = self
            .rules
            .chmod
            .as_ref()
            .filter(|_| meta.kind != FileKind::Symlink)
        {
            meta.mode = chmod.apply(meta.mode, meta.kind);
        }
        meta
    }

    /// Adds all that decides about the layer to its key.
    pub(crate) fn hash(&self, key: &mut Key) -> Result<()> {
        for put in &self.puts {
            let meta = &put.meta;
            key.add(&put.path).numbers(&[
                meta.kind as u64,
                meta.mode.into(),
                meta.uid.into(),
                meta.gid.into(),
                meta.size,
                meta.device.0.into(),
                meta.device.1.into(),
            ]);
            for (name, value) in &put.xattrs {
                key.add(name).add(value);
            }
            match &put.content {
                Content::None => {}
                Content::Link(target) => drop(key.add(target)),
                Content::Bytes(bytes) => drop(key.add(bytes)),
                Content::Node(tree, node) => key.content(tree.read(node)?, &shown(&node.path))?,
            }
        }
        Ok(())
    }

    /// Writes the layer; no time in it is later than `epoch`.
    pub(crate) fn write(&self, tar: &mut LayerWriter<'_>, epoch: Option<i64>) -> Result<()> {
        for put in &self.puts {
            let written = self.write_one(put, tar, epoch)?;
            written.map_err(|error| Error::io(format!("copy {}", shown(&put.path)), error))?;
        }
        Ok(())
    }

    fn write_one(
        &self,
        put: &Put<'_>,
        tar: &mut LayerWriter<'_>,
        epoch: Option<i64>,
    ) -> Result<std::io::Result<()>> {
        let meta = &put.meta;
        let mut entry = NewEntry {
            path: &put.path,
            kind: kind(meta.kind),
            link: b"",
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: (clamp(meta.mtime.0, epoch), 0),
            device: meta.device,
            xattrs: &put.xattrs,
        };
        Ok(match &put.content {
            Content::None if meta.kind == FileKind::File => {
                tar.file(&entry, 0, &mut std::io::empty())
            }
            Content::None => tar.entry(&entry),
            Content::Link(target) => {
                entry.link = target;
                tar.entry(&entry)
            }
            Content::Bytes(bytes) => tar.file(&entry, bytes.len() as u64, &mut &bytes[..]),
            Content::Node(tree, node) => {
                let mut content = tree.read(node)?;
                tar.file(&entry, meta.size, &mut content as &mut dyn Read)
            }
        })
    }
}

//! Where COPY and mounts take files from: a folder of the host, or layers. A host's
//! path is resolved by openat2(2) with the context as root, so that no link leads out.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use isola_images::files::{FileKind, FileMeta, Files, Found};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::ignore::Ignore;

/// A tree of files to take from.
#[derive(Debug)]
pub struct Tree {
    source: Source,
    ignore: Ignore,
    /// Owners are of no meaning elsewhere: all is root's.
    foreign: bool,
}

#[derive(Debug)]
enum Source {
    Host(PathBuf, OwnedFd),
    Layers(Files),
    Nothing,
}

/// A file of a tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its path from the tree's root, without links.
    pub path: Vec<u8>,
    /// What it is.
    pub meta: FileMeta,
    found: Option<Found>,
}

impl Node {
    /// Its last name; nothing for the root.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }
}

impl Tree {
    /// A folder of the host.
    ///
    /// # Errors
    /// It can't be opened, or is none.
    pub fn host(path: &Path, ignore: Ignore) -> Result<Tree> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| Error::io(format!("open the context {}", path.display()), error))?;
        Ok(Tree {
            source: Source::Host(path.to_owned(), root),
            ignore,
            foreign: true,
        })
    }

    /// Layers of another stage or image, whose owners count.
    pub fn layers(files: Files) -> Tree {
        Tree {
            source: Source::Layers(files),
            ignore: Ignore::default(),
            foreign: false,
        }
    }

    /// A context that came as an archive and was made a layer.
    pub fn archive(files: Files, ignore: Ignore) -> Tree {
        Tree {
            source: Source::Layers(files),
            ignore,
            foreign: true,
        }
    }

    /// A context without files.
    pub fn nothing() -> Tree {
        Tree {
            source: Source::Nothing,
            ignore: Ignore::default(),
            foreign: true,
        }
    }

    /// The same with other patterns of what is left out.
    #[must_use]
    pub fn without(mut self, ignore: Ignore) -> Tree {
        self.ignore = ignore;
        self
    }

    /// The folder of the host, if all of it can be seen.
    pub fn whole_folder(&self) -> Option<&Path> {
        match &self.source {
            Source::Host(path, _) if self.ignore.is_empty() => Some(path),
            _ => None,
        }
    }

    fn visible(&self, path: &[u8]) -> bool {
        self.ignore.is_empty() || !self.ignore.excludes(&String::from_utf8_lossy(path))
    }

    /// The file at a path; links are followed, the last one only with `follow`.
    ///
    /// # Errors
    /// It can't be looked up.
    pub fn lookup(&self, path: &[u8], follow: bool) -> Result<Option<Node>> {
        let node = match &self.source {
            Source::Nothing => None,
            Source::Layers(files) => files.lookup(path, follow)?.map(|found| Node {
                path: found.path.clone(),
                meta: found.meta.clone(),
                found: Some(found),
            }),
            Source::Host(_, root) => {
                host_lookup(root, path, follow).map_err(|error| failed(path, error))?
            }
        };
        // A folder that is left out may hold what is brought back.
        Ok(node.filter(|node| {
            let folder = node.meta.kind == FileKind::Dir && self.ignore.brings_back();
            folder || self.visible(&node.path)
        }))
    }

    /// What is in a folder, in the order of names.
    ///
    /// # Errors
    /// It can't be read.
    pub fn list(&self, folder: &Node) -> Result<Vec<Node>> {
        let mut nodes = match (&self.source, &folder.found) {
            (Source::Layers(files), Some(found)) => files
                .list(found)?
                .into_iter()
                .map(|found| Node {
                    path: found.path.clone(),
                    meta: found.meta.clone(),
                    found: Some(found),
                })
                .collect(),
            (Source::Host(_, root), _) => {
                host_list(root, folder).map_err(|error| failed(&folder.path, error))?
            }
            _ => Vec::new(),
        };
        let back = self.ignore.brings_back();
        let mut kept = Vec::with_capacity(nodes.len());
        for node in nodes.drain(..) {
            let folder = node.meta.kind == FileKind::Dir;
            if self.visible(&node.path) || (folder && back && self.holds_something(&node)?) {
                kept.push(node);
            }
        }
        Ok(kept)
    }

    fn holds_something(&self, folder: &Node) -> Result<bool> {
        Ok(!self.list(folder)?.is_empty())
    }

    /// Metadata as it is taken over: owners of contexts do not count.
    pub fn meta(&self, node: &Node) -> FileMeta {
        let mut meta = node.meta.clone();
        if self.foreign {
            (meta.uid, meta.gid) = (0, 0);
        }
        meta.mtime.1 = 0;
        meta
    }

    /// What a symbolic link points to.
    ///
    /// # Errors
    /// It can't be read.
    pub fn target(&self, node: &Node) -> Result<Vec<u8>> {
        match (&self.source, &node.found) {
            (Source::Layers(files), Some(found)) => Ok(files.target(found)?),
            (Source::Host(_, root), _) => {
                let (folder, name) =
                    host_parent(root, &node.path).map_err(|error| failed(&node.path, error))?;
                let target = rustix::fs::readlinkat(&folder, &name, Vec::new())
                    .map_err(|error| failed(&node.path, error))?;
                Ok(target.into_bytes())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Extended attributes of a layer's file; those of contexts do not count.
    ///
    /// # Errors
    /// They can't be read.
    pub fn xattrs(&self, node: &Node) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match (&self.source, &node.found) {
            (Source::Layers(files), Some(found)) if !self.foreign => Ok(files.xattrs(found)?),
            _ => Ok(Vec::new()),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn read<'a>(&'a self, node: &'a Node) -> Result<Box<dyn Read + 'a>> {
        match (&self.source, &node.found) {
            (Source::Layers(files), Some(found)) => Ok(files.read(found)?),
            (Source::Host(_, root), _) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let file =
                    open_in(root, &node.path, flags).map_err(|error| failed(&node.path, error))?;
                Ok(Box::new(File::from(file)))
            }
            _ => Err(failed(&node.path, Errno::NOENT)),
        }
    }

    /// A file's path on the host, through the opened context.
    ///
    /// # Errors
    /// It is not there.
    pub fn host_path(&self, node: &Node) -> Result<Option<PathBuf>> {
        let Source::Host(_, root) = &self.source else {
            return Ok(None);
        };
        let opened = open_in(root, &node.path, OFlags::PATH | OFlags::CLOEXEC)
            .map_err(|error| failed(&node.path, error))?;
        let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let path = std::fs::read_link(&link)
            .map_err(|error| Error::io(format!("find {}", shown(&node.path)), error))?;
        Ok(Some(path))
    }
}

fn failed(path: &[u8], error: Errno) -> Error {
    Error::new(
        Kind::System,
        format!("cannot read {:?}: {}", shown(path), io::Error::from(error)),
    )
}

/// A path for people.
pub(crate) fn shown(path: &[u8]) -> String {
    match path {
        b"" => "/".into(),
        path => String::from_utf8_lossy(path).into_owned(),
    }
}

fn open_in(root: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
}

/// The opened folder of a path without links, and the last name.
fn host_parent(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<(OwnedFd, CString)> {
    let at = path.iter().rposition(|&b| b == b'/');
    let (folder, name) = match at {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    Ok((open_in(root, folder, flags)?, name))
}

fn host_lookup(root: &OwnedFd, path: &[u8], follow: bool) -> rustix::io::Result<Option<Node>> {
    let absent = |error| matches!(error, Errno::NOENT | Errno::NOTDIR);
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    let opened = match open_in(root, path, flags) {
        Ok(opened) => opened,
        Err(error) if absent(error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = statat(&opened, c"", AtFlags::EMPTY_PATH)?;
    // Where the links led, below the root.
    let link = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let real = link(&opened).map_err(|_| Errno::NOENT)?;
    let base = link(root).map_err(|_| Errno::NOENT)?;
    let real = real.strip_prefix(&base).map_err(|_| Errno::XDEV)?;
    Ok(Some(Node {
        path: real.as_os_str().as_bytes().to_vec(),
        meta: meta_of(&stat),
        found: None,
    }))
}

fn host_list(root: &OwnedFd, folder: &Node) -> rustix::io::Result<Vec<Node>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = open_in(root, &folder.path, flags)?;
    let mut nodes = Vec::new();
    for entry in Dir::read_from(&opened)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW)?;
        // Sockets mean nothing without who listens.
        if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
            continue;
        }
        let path = match folder.path.is_empty() {
            true => name.to_bytes().to_vec(),
            false => [&folder.path, &b"/"[..], name.to_bytes()].concat(),
        };
        nodes.push(Node {
            path,
            meta: meta_of(&stat),
            found: None,
        });
    }
    nodes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(nodes)
}

fn meta_of(stat: &Stat) -> FileMeta {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Symlink,
        FileType::CharacterDevice => FileKind::Char,
        FileType::BlockDevice => FileKind::Block,
        FileType::Fifo => FileKind::Fifo,
        _ => FileKind::File,
    };
    let device = matches!(kind, FileKind::Char | FileKind::Block);
    FileMeta {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, 0),
        size: match kind {
            FileKind::File => u64::try_from(stat.st_size).unwrap_or(0),
            _ => 0,
        },
        device: match device {
            true => (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            ),
            false => (0, 0),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_ends_at_its_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("context");
        std::fs::create_dir_all(root.join("d")).unwrap();
        std::fs::write(folder.path().join("outside"), "no").unwrap();
        std::fs::write(root.join("d/in"), "yes").unwrap();
        for (target, name) in [("../outside", "up"), ("/d/in", "absolute"), ("d", "folder")] {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        }
        let tree = Tree::host(&root, Ignore::parse("d/x").unwrap()).unwrap();
        let find = |path: &str| tree.lookup(path.as_bytes(), true).unwrap();
        assert!(find("../outside").is_none() && find("up").is_none() && find("/outside").is_none());
        assert_eq!(find("absolute").unwrap().path, b"d/in");
        assert_eq!(find("folder/in").unwrap().path, b"d/in");
        let link = tree.lookup(b"up", false).unwrap().unwrap();
        assert_eq!(tree.target(&link).unwrap(), b"../outside");
        let mut content = String::new();
        let node = find("folder/in").unwrap();
        tree.read(&node)
            .unwrap()
            .read_to_string(&mut content)
            .unwrap();
        assert_eq!(content, "yes");
        let root = find("").unwrap();
        let names: Vec<_> = tree
            .list(&root)
            .unwrap()
            .into_iter()
            .map(|node| node.path)
            .collect();
        assert_eq!(names, [&b"absolute"[..], b"d", b"folder", b"up"]);
    }
}

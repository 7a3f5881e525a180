//! Layers as folders, for hosts that cannot mount EROFS.
//!
//! The data of files goes to numbered files in a private folder while the tar
//! stream passes; when the tree is whole and checked, folders are made and the
//! files linked to their places. So no path of the archive is ever resolved on
//! the host: folders are opened below the layer's root by openat2(2), which
//! follows no link and does not leave it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::BufRead;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::apply::{DataSink, Source, read_layer};
use super::build::Implied;
use super::header::Segment;
use super::tar::TarReader;
use super::tree::{Data, FolderMeta, Kind, Meta, NodeId, ROOT, Seen, Tree};
use crate::error::{Error, Result};
use crate::limits::Budget;
use crate::store::temp::Temp;

/// Makes a folder out of a layer.
pub(super) fn directory<R: BufRead>(
    tar: &mut TarReader<R>,
    budget: &mut Budget<'_>,
    temp_dir: &Path,
) -> Result<(Temp, Vec<Implied>)> {
    let staging = Temp::dir(temp_dir)?;
    let mut sink = StagingSink {
        dir: staging.path().to_owned(),
        next: 0,
    };
    let tree = read_layer(tar, &mut sink, budget)?;
    let root = Temp::dir(temp_dir)?;
    let fd = rustix::fs::open(
        root.path(),
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| Error::io("open", root.path(), e.into()))?;
    let mut unpacker = Unpacker {
        tree: &tree,
        staging: staging.path(),
        root: &fd,
        first_names: HashMap::new(),
        privileged: rustix::process::geteuid().is_root(),
    };
    unpacker.run()?;
    rustix::fs::syncfs(&fd).map_err(|e| Error::io("write", root.path(), e.into()))?;
    let implied = tree
        .implied()
        .into_iter()
        .map(|(_, path)| Implied { path, inode: 0 });
    Ok((root, implied.collect()))
}

/// Puts files' data into numbered files.
struct StagingSink {
    dir: PathBuf,
    next: u64,
}

impl StagingSink {
    fn create(&mut self, size: u64) -> Result<(PathBuf, File, Data)> {
        let number = self.next;
        self.next += 1;
        let path = self.dir.join(number.to_string());
        let file = File::create_new(&path).map_err(|e| Error::io("create", &path, e))?;
        file.set_len(size)
            .map_err(|e| Error::io("write", &path, e))?;
        Ok((path, file, Data::Staged(number)))
    }
}

impl DataSink for StagingSink {
    fn dense(&mut self, size: u64, source: &mut dyn Source) -> Result<Data> {
        self.sparse(
            size,
            &[Segment {
                offset: 0,
                len: size,
            }],
            source,
        )
    }

    fn sparse(&mut self, size: u64, segments: &[Segment], source: &mut dyn Source) -> Result<Data> {
        let (path, file, data) = self.create(size)?;
        for segment in segments {
            let mut at = segment.offset;
            let end = segment.offset + segment.len;
            while at < end {
                let piece = source.piece()?;
                let n = piece
                    .len()
                    .min(usize::try_from(end - at).unwrap_or(usize::MAX));
                if n == 0 {
                    return Err(Error::Tar("a file's data ends early".into()));
                }
                file.write_all_at(&piece[..n], at)
                    .map_err(|e| Error::io("write", &path, e))?;
                source.take(n);
                at += n as u64;
            }
        }
        Ok(data)
    }

    fn sparse_cost(&self, _size: u64, segments: &[Segment]) -> u64 {
        segments
            .iter()
            .map(|segment| segment.len.next_multiple_of(4096))
            .sum()
    }
}

struct Unpacker<'a> {
    tree: &'a Tree,
    staging: &'a Path,
    root: &'a OwnedFd,
    /// Where files with several names were put first.
    first_names: HashMap<NodeId, PathBuf>,
    privileged: bool,
}

impl Unpacker<'_> {
    fn run(&mut self) -> Result<()> {
        let mut dirs = vec![(ROOT, PathBuf::new())];
        let mut next = 0;
        while let Some((id, path)) = dirs.get(next).cloned() {
            next += 1;
            let fd = self.open(&path)?;
            let children = self.tree.dir(id).map(|dir| &dir.children);
            for (name, &child) in children.into_iter().flatten() {
                let name = OsStr::from_bytes(name);
                let path = path.join(name);
                if self.tree.dir(child).is_some() {
                    let made = rustix::fs::mkdirat(&fd, name, Mode::RWXU);
                    made.map_err(|e| Error::io("create", &path, e.into()))?;
                    dirs.push((child, path));
                } else {
                    self.put(&fd, name, &path, child)?;
                }
            }
        }
        // From the leaves up, so that times and permissions stay.
        for (id, path) in dirs.iter().rev() {
            let fd = self.open(path)?;
            let opaque = self.tree.dir(*id).is_some_and(|dir| dir.opaque);
            if opaque {
                self.set_opaque(&fd, path)?;
            }
            self.apply(&fd, OsStr::new("."), path, *id)?;
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve =
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(self.root, path, flags, Mode::empty(), resolve)
            .map_err(|e| Error::io("open", path, e.into()))
    }

    fn put(&mut self, dir: &OwnedFd, name: &OsStr, path: &Path, id: NodeId) -> Result<()> {
        let node = self.tree.node(id);
        let failed = |e: Errno| Error::io("create", path, e.into());
        if let Some(first) = self.first_names.get(&id) {
            return rustix::fs::linkat(self.root, first, dir, name, AtFlags::empty())
                .map_err(failed);
        }
        match &node.kind {
            Kind::File {
                data: Data::Staged(number),
                ..
            } => {
                let staged = self.staging.join(number.to_string());
                rustix::fs::linkat(rustix::fs::CWD, &staged, dir, name, AtFlags::empty())
            }
            Kind::Symlink(target) => rustix::fs::symlinkat(OsStr::from_bytes(target), dir, name),
            Kind::Fifo => mknod(dir, name, FileType::Fifo, 0, 0),
            Kind::Whiteout => mknod(dir, name, FileType::CharacterDevice, 0, 0),
            Kind::Char(major, minor) => mknod(dir, name, FileType::CharacterDevice, *major, *minor),
            Kind::Block(major, minor) => mknod(dir, name, FileType::BlockDevice, *major, *minor),
            Kind::File { .. } | Kind::Dir(_) => Ok(()),
        }
        .or_else(|e| match e {
            // Only root makes devices; without them the rest is still of use.
            Errno::PERM if !self.privileged => Ok(()),
            other => Err(failed(other)),
        })?;
        if node.names > 1 {
            self.first_names.insert(id, path.to_owned());
        }
        if matches!(node.kind, Kind::Whiteout) {
            Ok(())
        } else {
            self.apply(dir, name, path, id)
        }
    }

    /// Owner, permissions, attributes, times: in this order, since a new owner
    /// takes set-user-id bits and file capabilities away.
    fn apply(&self, dir: &OwnedFd, name: &OsStr, path: &Path, id: NodeId) -> Result<()> {
        let node = self.tree.node(id);
        let Meta {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        } = &node.meta;
        let link = matches!(node.kind, Kind::Symlink(_));
        let failed = |e: Errno| Error::io("set the owner, permissions or times of", path, e.into());
        if self.privileged {
            let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
            rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed)?;
        }
        if !link {
            let mode = Mode::from_raw_mode(u32::from(*mode));
            rustix::fs::chmodat(dir, name, mode, AtFlags::empty()).map_err(failed)?;
        }
        let at = proc_path(dir, name);
        for (key, value) in xattrs {
            let key = OsStr::from_bytes(key);
            match rustix::fs::lsetxattr(&at, key, value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::PERM) if !self.privileged => {}
                Err(e) => return Err(Error::io("set an extended attribute of", path, e.into())),
            }
        }
        rustix::fs::utimensat(dir, name, &times(*mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// overlayfs reads `trusted.` attributes, or `user.` ones when it is mounted
    /// without privileges (option `userxattr`).
    fn set_opaque(&self, dir: &OwnedFd, path: &Path) -> Result<()> {
        let key = if self.privileged {
            "trusted.overlay.opaque"
        } else {
            "user.overlay.opaque"
        };
        rustix::fs::fsetxattr(dir.as_fd(), key, b"y", XattrFlags::empty())
            .map_err(|e| Error::io("set an extended attribute of", path, e.into()))
    }
}

fn mknod(
    dir: &OwnedFd,
    name: &OsStr,
    kind: FileType,
    major: u32,
    minor: u32,
) -> std::result::Result<(), Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(dir, name, kind, mode, rustix::fs::makedev(major, minor))
}

/// A name in an open folder as a path: there is no call that sets attributes of
/// links and devices by descriptor.
fn proc_path(dir: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(name)
}

/// What the folder of a layer has under this name.
pub(crate) fn look(layer: &Path, path: &Path) -> Result<Seen> {
    let mut at = layer.to_owned();
    let mut found = fs::symlink_metadata(&at).map_err(|e| Error::io("read the layer", &at, e))?;
    for name in path {
        let below = at.join(name);
        found = match fs::symlink_metadata(&below) {
            Ok(found) if found.is_dir() => found,
            Ok(_) => return Ok(Seen::Hidden),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && is_opaque(&at) => {
                return Ok(Seen::Hidden);
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Seen::Absent),
            Err(e) => return Err(Error::io("read the layer", &below, e)),
        };
        at = below;
    }
    Ok(Seen::Folder(crate::store::below::folder_meta(&found)))
}

pub(crate) fn is_opaque(dir: &Path) -> bool {
    let mut value = [0; 2];
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|key| rustix::fs::lgetxattr(dir, *key, &mut value).is_ok_and(|n| value[..n] == *b"y"))
}

/// Gives a folder of a layer other metadata.
pub(crate) fn set_folder(path: &Path, meta: &FolderMeta) -> std::io::Result<()> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(path, Some(meta.uid), Some(meta.gid))?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(u32::from(meta.mode)))?;
    let times = times(meta.mtime);
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn times(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.0,
        tv_nsec: i64::from(mtime.1),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

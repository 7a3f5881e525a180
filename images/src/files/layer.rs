//! One layer: an EROFS image, or a folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{FileKind, FileMeta};
use crate::erofs;
use crate::error::{Error, Result};
use crate::image::{Layer, LayerForm};
use crate::layer::unpack;

/// Where a file is in its layer.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Inode(u64),
    Path(PathBuf),
}

/// What a layer has under a name.
pub(super) enum Look {
    At(Place),
    /// It hides what is below.
    Hidden,
    Absent,
}

#[derive(Debug)]
enum Form {
    Erofs(erofs::Image),
    Directory,
}

#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    form: Form,
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

impl Source {
    pub(super) fn open(layer: &Layer) -> Result<Source> {
        let path = layer.path().to_owned();
        let form = match &layer.form {
            LayerForm::Erofs(path) => Form::Erofs(
                erofs::Image::open(path).map_err(|e| Error::io("read the layer", path, e))?,
            ),
            LayerForm::Directory(_) => Form::Directory,
        };
        Ok(Source { path, form })
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io("read the layer", &self.path, error)
    }

    /// The two forms never meet each other's places.
    fn mismatch(&self) -> Error {
        self.failed(io::ErrorKind::InvalidInput.into())
    }

    pub(super) fn root(&self) -> Place {
        match &self.form {
            Form::Erofs(image) => Place::Inode(image.root),
            Form::Directory => Place::Path(self.path.clone()),
        }
    }

    pub(super) fn meta(&self, place: &Place) -> Result<FileMeta> {
        match (&self.form, place) {
            (Form::Erofs(image), Place::Inode(nid)) => {
                let inode = image.inode(*nid).map_err(|e| self.failed(e))?;
                let kind = match inode.mode & 0o170_000 {
                    0o010_000 => FileKind::Fifo,
                    0o020_000 => FileKind::Char,
                    0o040_000 => FileKind::Dir,
                    0o060_000 => FileKind::Block,
                    0o120_000 => FileKind::Symlink,
                    _ => FileKind::File,
                };
                let device = matches!(kind, FileKind::Char | FileKind::Block);
                Ok(FileMeta {
                    kind,
                    mode: u32::from(inode.mode & 0o7777),
                    uid: inode.owner.0,
                    gid: inode.owner.1,
                    mtime: inode.mtime,
                    size: if kind == FileKind::File {
                        inode.size
                    } else {
                        0
                    },
                    device: if device { inode.device() } else { (0, 0) },
                })
            }
            (Form::Directory, Place::Path(path)) => {
                let meta = fs::symlink_metadata(path).map_err(|e| self.failed(e))?;
                Ok(of_metadata(&meta))
            }
            _ => Err(self.mismatch()),
        }
    }

    pub(super) fn is_opaque(&self, place: &Place) -> Result<bool> {
        match (&self.form, place) {
            (Form::Erofs(image), Place::Inode(nid)) => image
                .inode(*nid)
                .and_then(|inode| image.is_opaque(&inode))
                .map_err(|e| self.failed(e)),
            (Form::Directory, Place::Path(path)) => Ok(unpack::is_opaque(path)),
            _ => Err(self.mismatch()),
        }
    }

    pub(super) fn child(&self, folder: &Place, name: &[u8]) -> Result<Look> {
        match (&self.form, folder) {
            (Form::Erofs(image), Place::Inode(nid)) => {
                let find = || -> io::Result<Look> {
                    let folder = image.inode(*nid)?;
                    if !folder.is_dir() {
                        return Ok(Look::Absent);
                    }
                    let Some(nid) = image.child(&folder, name)? else {
                        return Ok(Look::Absent);
                    };
                    Ok(match image.inode(nid)?.is_whiteout() {
                        true => Look::Hidden,
                        false => Look::At(Place::Inode(nid)),
                    })
                };
                find().map_err(|e| self.failed(e))
            }
            (Form::Directory, Place::Path(path)) => {
                let path = path.join(OsStr::from_bytes(name));
                match fs::symlink_metadata(&path) {
                    Ok(meta) if meta.file_type().is_char_device() && meta.rdev() == 0 => {
                        Ok(Look::Hidden)
                    }
                    Ok(_) => Ok(Look::At(Place::Path(path))),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Look::Absent),
                    Err(e) => Err(self.failed(e)),
                }
            }
            _ => Err(self.mismatch()),
        }
    }

    pub(super) fn names(&self, folder: &Place) -> Result<Vec<Vec<u8>>> {
        match (&self.form, folder) {
            (Form::Erofs(image), Place::Inode(nid)) => {
                let children = image
                    .inode(*nid)
                    .and_then(|folder| image.children(&folder))
                    .map_err(|e| self.failed(e))?;
                Ok(children.into_iter().map(|(name, _)| name).collect())
            }
            (Form::Directory, Place::Path(path)) => fs::read_dir(path)
                .and_then(|entries| {
                    entries
                        .map(|entry| entry.map(|entry| entry.file_name().into_vec()))
                        .collect()
                })
                .map_err(|e| self.failed(e)),
            _ => Err(self.mismatch()),
        }
    }

    pub(super) fn target(&self, place: &Place) -> Result<Vec<u8>> {
        match (&self.form, place) {
            (Form::Erofs(image), Place::Inode(nid)) => image
                .inode(*nid)
                .and_then(|inode| image.target(&inode))
                .map_err(|e| self.failed(e)),
            (Form::Directory, Place::Path(path)) => fs::read_link(path)
                .map(|target| target.into_os_string().into_vec())
                .map_err(|e| self.failed(e)),
            _ => Err(self.mismatch()),
        }
    }

    pub(super) fn xattrs(&self, place: &Place) -> Result<Xattrs> {
        match (&self.form, place) {
            (Form::Erofs(image), Place::Inode(nid)) => {
                let mut xattrs = image
                    .inode(*nid)
                    .and_then(|inode| image.xattrs(&inode))
                    .map_err(|e| self.failed(e))?;
                xattrs.sort();
                Ok(xattrs)
            }
            (Form::Directory, Place::Path(path)) => {
                let mut xattrs = crate::import::folder::xattrs(path).map_err(|e| self.failed(e))?;
                xattrs.retain(|(name, _)| {
                    !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
                });
                Ok(xattrs)
            }
            _ => Err(self.mismatch()),
        }
    }

    pub(super) fn read(&self, place: &Place) -> Result<Box<dyn Read + '_>> {
        match (&self.form, place) {
            (Form::Erofs(image), Place::Inode(nid)) => {
                let inode = image.inode(*nid).map_err(|e| self.failed(e))?;
                Ok(Box::new(Content {
                    image,
                    inode,
                    at: 0,
                }))
            }
            (Form::Directory, Place::Path(path)) => {
                let file = open_file(path).map_err(|e| self.failed(e))?;
                Ok(Box::new(file))
            }
            _ => Err(self.mismatch()),
        }
    }

    pub(super) fn number(&self, place: &Place) -> Option<u64> {
        match place {
            Place::Inode(nid) => Some(*nid),
            Place::Path(path) => fs::symlink_metadata(path).ok().map(|meta| meta.ino()),
        }
    }
}

/// Follows no link and waits for no pipe.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    File::options()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

/// Metadata as stat(2) has it.
pub(super) fn of_metadata(meta: &fs::Metadata) -> FileMeta {
    let kind = meta.file_type();
    let kind = match kind {
        _ if kind.is_dir() => FileKind::Dir,
        _ if kind.is_symlink() => FileKind::Symlink,
        _ if kind.is_char_device() => FileKind::Char,
        _ if kind.is_block_device() => FileKind::Block,
        _ if kind.is_fifo() => FileKind::Fifo,
        _ => FileKind::File,
    };
    let rdev = meta.rdev();
    FileMeta {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), meta.mtime_nsec() as u32),
        size: if kind == FileKind::File {
            meta.len()
        } else {
            0
        },
        device: match kind {
            FileKind::Char | FileKind::Block => (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
            _ => (0, 0),
        },
    }
}

/// A file in an image.
struct Content<'a> {
    image: &'a erofs::Image,
    inode: erofs::Inode,
    at: u64,
}

impl Read for Content<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.image.read_at(&self.inode, self.at, out)?;
        self.at += count as u64;
        Ok(count)
    }
}

//! An archive that a workload made, laid out in a folder of the host. Nothing
//! of it lands elsewhere: every path is opened below the folder's descriptor
//! with openat2(2), and no link on the way is followed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chownat,
    fchmod, linkat, mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use tar::{Archive, EntryType};

use super::item::{Budget, Item, Metered, copy_sparse};
use super::plan::Rename;
use crate::error::{Code, Failure, Result};

/// Lays archives out.
#[derive(Debug)]
pub(crate) struct Unpacker {
    folder: OwnedFd,
    path: PathBuf,
    rename: Rename,
    /// Keep owners and set-id bits.
    owners: bool,
    /// Folders whose mode and time are set at the end, when nothing is added to
    /// them any more.
    folders: BTreeMap<PathBuf, (Mode, i64)>,
    /// What was left out: devices.
    pub(crate) skipped: Vec<PathBuf>,
}

impl Unpacker {
    /// Opens the folder, which is the user's own choice: links in it are followed.
    pub(crate) fn open(folder: &str, rename: Rename, owners: bool) -> Result<Unpacker> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(CWD, folder, flags, Mode::empty())
            .map_err(|error| Failure::system(format!("open the folder {folder}"), error))?;
        Ok(Unpacker {
            folder: fd,
            path: PathBuf::from(folder),
            rename,
            owners,
            folders: BTreeMap::new(),
            skipped: Vec::new(),
        })
    }

    /// Reads an archive to its end.
    pub(crate) fn unpack(&mut self, archive: impl Read) -> Result<()> {
        let budget = Budget::default();
        let mut archive = Archive::new(Metered {
            inner: archive,
            budget: &budget,
        });
        let damaged =
            |error| Failure::new(Code::Copy, format!("the archive can't be read: {error}"));
        let mut entries = archive.entries().map_err(damaged)?;
        loop {
            budget.header();
            let Some(entry) = entries.next() else {
                return self.finish_folders();
            };
            let mut entry = entry.map_err(damaged)?;
            let item = Item::of(&entry).map_err(damaged)?;
            budget.content();
            if item.kind != EntryType::XGlobalHeader {
                self.place(&item, &mut entry)?;
            }
        }
    }

    fn place(&mut self, item: &Item, content: &mut impl Read) -> Result<()> {
        let name = item.name.display();
        let path = self.target(&item.name).ok_or_else(|| {
            Failure::new(
                Code::Copy,
                format!("refused the entry {name}: it would leave the destination"),
            )
        })?;
        // The top of a folder whose content alone is wanted.
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        self.make(&path, item, content).map_err(|error| {
            let place = self.path.join(&path);
            Failure::new(
                Code::Copy,
                format!("cannot write {}: {error}", place.display()),
            )
        })
    }

    fn make(&mut self, path: &Path, item: &Item, content: &mut impl Read) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let no_target = || io::Error::other("the link has no target in the destination");
        match item.kind {
            EntryType::Directory => {
                make_folder(&parent, name)?;
                self.folders
                    .insert(path.to_owned(), (item.mode, item.mtime));
                self.set_owner(&parent, name, item)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                make_room(&parent, name)?;
                self.write_file(&parent, name, item, content)
            }
            EntryType::Symlink => {
                make_room(&parent, name)?;
                symlinkat(item.link.as_deref().ok_or_else(no_target)?, &parent, name)?;
                self.set_owner(&parent, name, item)
            }
            EntryType::Link => {
                let target = item.link.as_deref().and_then(|link| self.target(link));
                let target = target.ok_or_else(no_target)?;
                if target == path {
                    return Ok(());
                }
                let (folder, old) = self.parent(&target)?;
                make_room(&parent, name)?;
                Ok(linkat(&folder, old, &parent, name, AtFlags::empty())?)
            }
            EntryType::Fifo => {
                make_room(&parent, name)?;
                mknodat(&parent, name, FileType::Fifo, self.allowed(item.mode), 0)?;
                self.set_owner(&parent, name, item)
            }
            // A workload must not make devices of its choice on the host.
            EntryType::Char | EntryType::Block => {
                self.skipped.push(path.to_owned());
                Ok(())
            }
            kind => Err(io::Error::other(format!(
                "entries of the kind {kind:?} are not known"
            ))),
        }
    }

    /// The path below the folder; `None` when it would lead out of it.
    fn target(&self, name: &Path) -> Option<PathBuf> {
        let mut parts = Vec::new();
        for part in name.components() {
            match part {
                Component::Normal(part) => parts.push(part),
                Component::CurDir => {}
                _ => return None,
            }
        }
        // The root's archive has no top: its names start with a dot.
        let topless = matches!(name.components().next(), Some(Component::CurDir));
        let rest = parts
            .get(usize::from(!topless)..)
            .unwrap_or_default()
            .iter()
            .copied();
        Some(match &self.rename {
            Rename::Keep => parts.iter().collect(),
            Rename::Strip => rest.collect(),
            Rename::To(new) => std::iter::once(OsStr::new(new)).chain(rest).collect(),
        })
    }

    /// The folder of a path, opened without following links and made where it is
    /// missing, and the last name.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        match self.folder_at(parent) {
            Err(Errno::NOENT) => {
                let mut made = PathBuf::new();
                for part in parent {
                    match mkdirat(&self.folder_at(&made)?, part, Mode::from(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => made.push(part),
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok((self.folder_at(parent)?, name))
            }
            other => Ok((other?, name)),
        }
    }

    fn folder_at(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.folder, path, flags, Mode::empty(), resolve)
    }

    fn write_file(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        item: &Item,
        content: &mut impl Read,
    ) -> io::Result<()> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(parent, name, flags, Mode::from(0o600))?);
        copy_sparse(content, &mut file)?;
        // The owner first: changing it clears set-id bits.
        self.set_owner(parent, name, item)?;
        fchmod(&file, self.allowed(item.mode))?;
        set_time(parent, name, item.mtime)
    }

    /// Without owners a set-id bit would make a program of the copying user's.
    fn allowed(&self, mode: Mode) -> Mode {
        match self.owners {
            true => mode,
            false => mode & Mode::from(0o1777),
        }
    }

    fn set_owner(&self, parent: &OwnedFd, name: &OsStr, item: &Item) -> io::Result<()> {
        if self.owners {
            let (uid, gid) = (Uid::from_raw(item.owner.0), Gid::from_raw(item.owner.1));
            chownat(
                parent,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        Ok(())
    }

    fn finish_folders(&mut self) -> Result<()> {
        for (path, (mode, mtime)) in std::mem::take(&mut self.folders).into_iter().rev() {
            let set = || -> io::Result<()> {
                let folder = self.folder_at(&path)?;
                fchmod(&folder, self.allowed(mode))?;
                set_time(&folder, OsStr::new("."), mtime)
            };
            set().map_err(|error| {
                Failure::system(format!("set the mode of {}", path.display()), error)
            })?;
        }
        Ok(())
    }
}

fn make_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match mkdirat(parent, name, Mode::from(0o700)) {
        Err(Errno::EXIST) => {
            let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Ok(()),
                _ => Err(io::Error::other("a folder can't replace what is no folder")),
            }
        }
        other => Ok(other?),
    }
}

/// Removes what is not a folder. What is written next is a new file: nothing is
/// ever written through a link.
fn make_room(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(io::Error::other("a folder is in its place")),
        Err(error) => Err(error.into()),
    }
}

fn set_time(parent: &OwnedFd, name: &OsStr, mtime: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;

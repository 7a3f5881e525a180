//! A tar archive from standard input into a folder of the sandbox. The process is
//! inside the sandbox's root already, so that links lead where they lead there; names
//! with `..` are refused all the same.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use isola_proto::Failure;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags, chmodat, chownat, fsetxattr, ftruncate, linkat, makedev, mkdirat, mknodat, openat,
    openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use crate::copy::Problems;
use crate::copy_attributes::Attributes;
use crate::error::{Setup, failure, reason};
use crate::path::Tree;
use crate::root;

/// Blocks of zeros of this size become holes.
const BLOCK: usize = 64 * 1024;
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

struct Extraction<'a> {
    into: OwnedFd,
    owners: bool,
    problems: &'a mut Problems,
    /// Folders get theirs at the end: writing into them would change the time, and
    /// they might not be writable any more.
    folders: Vec<(Vec<Vec<u8>>, Attributes)>,
}

/// Extracts into the existing folder `path`.
pub(crate) fn read_archive(
    path: &str,
    owners: bool,
    problems: &mut Problems,
) -> Result<(), Failure> {
    let root = root::open_current()?;
    let into = Tree(root.as_fd())
        .open(path, OFlags::PATH | OFlags::DIRECTORY)
        .setup(|| format!("open the folder '{path}'"))?;
    let mut extraction = Extraction {
        into,
        owners,
        problems,
        folders: Vec::new(),
    };
    let mut input = io::BufReader::with_capacity(BLOCK, io::stdin());
    let mut archive = Archive::new(&mut input);
    for entry in archive.entries().setup(|| "read the archive".to_owned())? {
        let mut entry = entry.setup(|| "read the archive".to_owned())?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        extraction
            .entry(&mut entry)
            .setup(|| format!("write '{name}'"))?;
    }
    extraction.finish();
    // Whoever writes the archive pads it; it must not find the pipe closed.
    io::copy(&mut input, &mut io::sink()).setup(|| "read the archive".to_owned())?;
    Ok(())
}

impl Extraction<'_> {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let parts = parts(&entry.path_bytes())?;
        // The folder itself: it is there, and stays as it is.
        let Some((name, parents)) = parts.split_last() else {
            return Ok(());
        };
        let parent = self.parent(parents)?;
        let name = OsStr::from_bytes(name);
        let attributes = Attributes::of(entry, self.owners)?;
        make_way(parent.as_fd(), name, kind.is_dir())?;
        match kind {
            EntryType::Directory => {
                match mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                self.folders.push((parts.clone(), attributes));
                return Ok(());
            }
            EntryType::Link => return self.hard_link(entry, parent.as_fd(), name),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or(Errno::INVAL)?;
                symlinkat(OsStr::from_bytes(&target), &parent, name)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                make_node(entry, parent.as_fd(), name, kind)?
            }
            kind if kind.is_file() || kind.is_gnu_sparse() => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let mut file: File =
                    openat(&parent, name, flags, Mode::from_raw_mode(0o600))?.into();
                copy_sparse(entry, &mut file)?;
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "an entry of an unknown kind",
                ));
            }
        }
        self.dress(parent.as_fd(), name, &attributes, kind.is_symlink())
    }

    /// The folder that an entry goes into, made when absent. Links on the way are
    /// followed as any program in the sandbox would follow them, but for those of procfs.
    fn parent(&self, parts: &[Vec<u8>]) -> io::Result<OwnedFd> {
        let mut folder = self.into.try_clone()?;
        for part in parts {
            let name = OsStr::from_bytes(part);
            let open = || {
                openat2(
                    &folder,
                    name,
                    FOLDER,
                    Mode::empty(),
                    ResolveFlags::NO_MAGICLINKS,
                )
            };
            folder = match open() {
                Err(Errno::NOENT) => {
                    mkdirat(&folder, name, Mode::from_raw_mode(0o755))?;
                    open()?
                }
                other => other?,
            };
        }
        Ok(folder)
    }

    fn hard_link(
        &self,
        entry: &Entry<'_, impl Read>,
        parent: BorrowedFd<'_>,
        name: &OsStr,
    ) -> io::Result<()> {
        let target = parts(&entry.link_name_bytes().ok_or(Errno::INVAL)?)?;
        let (target, parents) = target.split_last().ok_or(Errno::INVAL)?;
        let folder = self.parent(parents)?;
        Ok(linkat(
            &folder,
            OsStr::from_bytes(target),
            parent,
            name,
            AtFlags::empty(),
        )?)
    }

    /// Owner first: changing it takes away set-id bits and file capabilities.
    fn dress(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        attributes: &Attributes,
        link: bool,
    ) -> io::Result<()> {
        if let Some((uid, gid)) = attributes.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if !link {
            chmodat(
                parent,
                name,
                Mode::from_raw_mode(attributes.mode),
                AtFlags::empty(),
            )?;
            self.set_extended(parent, name, &attributes.extended);
        }
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: attributes.mtime,
        };
        Ok(utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn set_extended(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        extended: &[(String, Vec<u8>)],
    ) {
        if extended.is_empty() {
            return;
        }
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(parent, name, flags, Mode::empty());
        for (key, value) in extended {
            let set = opened.as_ref().map_err(|error| *error);
            if let Err(error) =
                set.and_then(|fd| fsetxattr(fd, key.as_str(), value, XattrFlags::empty()))
            {
                let name = name.to_string_lossy();
                self.problems.tell(format!(
                    "set attribute '{key}' of '{name}': {}",
                    reason(&error.into())
                ));
            }
        }
    }

    fn finish(&mut self) {
        for (parts, attributes) in std::mem::take(&mut self.folders).into_iter().rev() {
            let Some((name, parents)) = parts.split_last() else {
                continue;
            };
            let dressed = self.parent(parents).and_then(|parent| {
                self.dress(parent.as_fd(), OsStr::from_bytes(name), &attributes, false)
            });
            if let Err(error) = dressed {
                let name = String::from_utf8_lossy(&parts.join(&b'/')).into_owned();
                self.problems
                    .tell(failure(format!("write '{name}': {}", reason(&error))));
            }
        }
    }
}

/// The components of a name.
fn parts(name: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let parts = name
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    if parts.iter().any(|part| part == b"..") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the name leads out of the folder",
        ));
    }
    Ok(parts)
}

/// Removes what an entry replaces. Folders and other things do not replace each other.
fn make_way(parent: BorrowedFd<'_>, name: &OsStr, folder: bool) -> io::Result<()> {
    let there = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => FileType::from_raw_mode(other?.st_mode),
    };
    match (there == FileType::Directory, folder) {
        (true, true) => Ok(()),
        (false, false) => Ok(unlinkat(parent, name, AtFlags::empty())?),
        (true, false) => Err(io::Error::other("a folder is there")),
        (false, true) => Err(io::Error::other("something that is no folder is there")),
    }
}

fn make_node(
    entry: &Entry<'_, impl Read>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: EntryType,
) -> io::Result<()> {
    // The fields may be empty where they mean nothing.
    let device = || -> io::Result<u64> {
        let header = entry.header();
        Ok(makedev(
            header.device_major()?.unwrap_or(0),
            header.device_minor()?.unwrap_or(0),
        ))
    };
    let (kind, device) = match kind {
        EntryType::Char => (FileType::CharacterDevice, device()?),
        EntryType::Block => (FileType::BlockDevice, device()?),
        _ => (FileType::Fifo, 0),
    };
    Ok(mknodat(
        parent,
        name,
        kind,
        Mode::from_raw_mode(0o600),
        device,
    )?)
}

/// Writes the data, leaving out blocks of zeros.
fn copy_sparse(from: &mut impl Read, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut length = 0;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match from.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled == 0 {
            return Ok(ftruncate(to, length)?);
        }
        if buffer[..filled].iter().any(|byte| *byte != 0) {
            std::os::unix::fs::FileExt::write_all_at(to, &buffer[..filled], length)?;
        }
        length += filled as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(parts(b"./a//b/").unwrap(), [b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(parts(b"/etc/x").unwrap(), [b"etc".to_vec(), b"x".to_vec()]);
        assert!(parts(b"./").unwrap().is_empty());
        assert!(parts(b"a/../../b").is_err());
    }

    #[test]
    fn holes_are_kept() {
        let data = [vec![0; 3 * BLOCK], b"x".to_vec(), vec![0; 2 * BLOCK]].concat();
        let mut file = tempfile::tempfile().unwrap();
        copy_sparse(&mut data.as_slice(), &mut file).unwrap();
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert!(read == data);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        assert!(blocks * 512 < data.len() as u64 / 2);
    }
}

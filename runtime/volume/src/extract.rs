//! An archive's members written into an empty folder. Every name is looked up from
//! that folder, component by component, and none on the way may be a link, so that
//! nothing is written elsewhere, whatever the archive says.

use std::ffi::CString;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, ftruncate, makedev, mkdirat, mknodat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use tar::EntryType;

use crate::attributes::Attributes;
use crate::copy::{PIECE, create, is_zero, link, open_path};
use crate::tar_read::{Member, Reader};
use crate::tree::{open_beneath, open_folder, reopen};

/// Most components of a name.
const DEEPEST: usize = 256;
/// Padding behind the end mark that is read, so that its writer is not cut off.
const PADDING: u64 = 1 << 20;

struct Extraction<'a> {
    into: BorrowedFd<'a>,
    /// The volume as it is: folders that the archive does not name are like there.
    like: BorrowedFd<'a>,
    /// Folders get their attributes in the end: writing into them changes their times.
    folders: Vec<(Vec<u8>, Attributes)>,
    buffer: Vec<u8>,
}

/// Extracts all members into `into`.
///
/// # Errors
/// What can't be read or written, with the member's name in front.
pub(crate) fn extract(
    mut input: impl Read,
    into: BorrowedFd<'_>,
    like: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut extraction = Extraction {
        into,
        like,
        folders: Vec::new(),
        buffer: vec![0; PIECE],
    };
    let mut reader = Reader::new(&mut input);
    while let Some(member) = reader.next()? {
        extraction.member(&mut reader, &member).map_err(|error| {
            let name = crate::error::shown(&member.name);
            io::Error::new(
                error.kind(),
                format!("'{name}': {}", crate::error::reason(&error)),
            )
        })?;
    }
    extraction.finish()?;
    io::copy(&mut input.take(PADDING), &mut io::sink())?;
    Ok(())
}

impl Extraction<'_> {
    fn member<R: Read>(&mut self, reader: &mut Reader<R>, member: &Member) -> io::Result<()> {
        let path = clean(&member.name)?;
        let attributes = attributes(member);
        let folder = member.kind == EntryType::Directory
            || (member.kind == EntryType::Regular && member.name.ends_with(b"/"));
        if path.is_empty() {
            if !folder {
                return Err(invalid("the volume itself is a folder"));
            }
            self.folders.push((path, attributes));
            return Ok(());
        }
        let (parent, name) = self.parent(&path)?;
        let parent = parent.as_fd();
        self.make_way(parent, &name, folder)?;
        match member.kind {
            _ if folder => {
                match mkdirat(parent, &name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                self.folders.push((path, attributes));
                return Ok(());
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let file = create(parent, &name)?;
                self.data(reader, member, &file)?;
                return attributes.apply(file.as_fd());
            }
            EntryType::Link => {
                return clean(&member.link)
                    .and_then(|target| link(self.into, &target, parent, &name))
                    .map_err(|error| unlinked(error, &member.link));
            }
            EntryType::Symlink => symlinkat(&CString::new(&member.link[..])?, parent, &name)?,
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                node(member, parent, &name)?;
            }
            _ => return Err(invalid("a member of an unknown kind")),
        }
        attributes.apply(open_path(parent, &name)?.as_fd())
    }

    /// The folder in which a path's last component is, made when absent.
    fn parent(&self, path: &[u8]) -> io::Result<(OwnedFd, CString)> {
        let at = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match at {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        let name = CString::new(name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match open_beneath(self.into, parent, flags, ResolveFlags::NO_SYMLINKS) {
            Ok(folder) => return Ok((folder, name)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(explain(error)),
        }
        let mut folder = reopen(self.into)?;
        let mut done = 0;
        for part in parent.split(|byte| *byte == b'/') {
            done += part.len() + usize::from(done > 0);
            let part = CString::new(part)?;
            match open_folder(folder.as_fd(), &part) {
                Ok(next) => folder = next,
                Err(Errno::NOENT) => {
                    mkdirat(&folder, &part, Mode::from_raw_mode(0o755))?;
                    folder = open_folder(folder.as_fd(), &part)?;
                    self.dress_unnamed(folder.as_fd(), &parent[..done])?;
                }
                Err(error) => return Err(explain(error)),
            }
        }
        Ok((folder, name))
    }

    /// A folder that the archive has not named yet gets what the one in the volume has.
    fn dress_unnamed(&self, folder: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match open_beneath(self.like, path, flags, ResolveFlags::NO_SYMLINKS) {
            Ok(there) => Attributes::read(there.as_fd())?.apply(folder),
            Err(_) => Ok(Mode::from_raw_mode(0o755)).and_then(|mode| {
                // Whatever this process's umask(2) is.
                Ok(rustix::fs::fchmod(folder, mode)?)
            }),
        }
    }

    /// Removes an earlier member of the same name; folders and other things do not
    /// replace each other.
    fn make_way(&self, parent: BorrowedFd<'_>, name: &CString, folder: bool) -> io::Result<()> {
        let there = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => FileType::from_raw_mode(other?.st_mode) == FileType::Directory,
        };
        match (there, folder) {
            (true, true) => Ok(()),
            (false, false) => Ok(unlinkat(parent, name, AtFlags::empty())?),
            _ => Err(invalid("it is there twice, and one of them is a folder")),
        }
    }

    fn data<R: Read>(
        &mut self,
        reader: &mut Reader<R>,
        member: &Member,
        file: &std::fs::File,
    ) -> io::Result<()> {
        // First, so that a size that no file can have is refused at once.
        ftruncate(file, member.size)?;
        for (offset, length) in &member.extents {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
                let piece = &mut self.buffer[..most];
                reader.data(piece)?;
                if !is_zero(piece) {
                    file.write_all_at(piece, at)?;
                }
                at += most as u64;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        for (path, attributes) in std::mem::take(&mut self.folders).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            open_beneath(self.into, &path, flags, ResolveFlags::NO_SYMLINKS)
                .map_err(io::Error::from)
                .and_then(|folder| attributes.apply(folder.as_fd()))
                .map_err(|error| {
                    let name = crate::error::shown(&path);
                    let reason = crate::error::reason(&error);
                    io::Error::new(error.kind(), format!("'{name}': {reason}"))
                })?;
        }
        Ok(())
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

/// Why there is no hard link.
fn unlinked(error: io::Error, target: &[u8]) -> io::Error {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        None | Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::PERM) => {
            let target = crate::error::shown(target);
            invalid(&format!(
                "a link to '{target}', which is no file of the archive"
            ))
        }
        Some(_) => error,
    }
}

fn explain(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => invalid("its path goes through a link"),
        Errno::NOTDIR => invalid("its path goes through something that is no folder"),
        error => error.into(),
    }
}

fn attributes(member: &Member) -> Attributes {
    Attributes {
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        atime: member.mtime,
        mtime: member.mtime,
        extended: member.extended.clone(),
    }
}

fn node(member: &Member, parent: BorrowedFd<'_>, name: &CString) -> io::Result<()> {
    let kind = match member.kind {
        EntryType::Char => FileType::CharacterDevice,
        EntryType::Block => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let device = makedev(member.device.0, member.device.1);
    Ok(mknodat(
        parent,
        name,
        kind,
        Mode::RUSR | Mode::WUSR,
        device,
    )?)
}

/// A name without `.` and doubled slashes.
fn clean(name: &[u8]) -> io::Result<Vec<u8>> {
    if name.is_empty() || name.contains(&0) {
        return Err(invalid("an empty name, or one with a zero"));
    }
    if name.starts_with(b"/") {
        return Err(invalid("an absolute path"));
    }
    let parts: Vec<&[u8]> = name
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        return Err(invalid("it leads out of the volume"));
    }
    if parts.len() > DEEPEST {
        return Err(invalid("nested too deeply"));
    }
    Ok(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        for (name, cleaned) in [
            ("./a//b/", "a/b"),
            ("./", ""),
            ("a/./b", "a/b"),
            ("..a", "..a"),
        ] {
            assert_eq!(
                clean(name.as_bytes()).unwrap(),
                cleaned.as_bytes(),
                "{name}"
            );
        }
        for name in ["", "/etc/x", "a/../../b", "..", "a\0b", &"a/".repeat(300)] {
            assert!(clean(name.as_bytes()).is_err(), "{name}");
        }
    }
}

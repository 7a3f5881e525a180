//! A file or folder of the sandbox as a tar archive on standard output.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use isola_proto::{Failure, Program};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use tar::{Builder, EntryType};

use crate::copy::Problems;
use crate::copy_record::{Archive, Exact, Record};
use crate::error::{Setup, failure, reason};
use crate::path::{Tree, clean, magic};
use crate::{root, sys};

/// Deepest nesting of folders; each level holds a descriptor.
const DEEPEST: usize = 512;
/// File systems that show the kernel's state instead of files (linux/magic.h): proc, sysfs,
/// cgroup, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, bpf. Of those only the
/// folder itself is archived.
const NO_FILES: [i64; 10] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x1980_0202,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
];

/// The number at which [`isola_proto::Program::Changes`] gets the upper folder of the
/// root's overlay: only whoever makes the process sees it.
const CHANGES: RawFd = 3;

/// The prefix of a name that is removed, and the name that hides all of a folder
/// (OCI image specification, "Whiteouts").
const REMOVED: &[u8] = b".wh.";
const OPAQUE: &[u8] = b"/.wh..wh..opq";

struct Walk<'a> {
    archive: Archive,
    /// It is an overlay's upper folder.
    upper: bool,
    /// First name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    problems: &'a mut Problems,
}

/// Writes `path` with names relative to its parent. What can't be read is told and
/// left out.
pub(crate) fn write_archive(
    path: &str,
    follow: bool,
    problems: &mut Problems,
) -> Result<(), Failure> {
    let root = root::open_current()?;
    let tree = Tree(root.as_fd());
    let path = clean(path);
    let what = || format!("read '{path}'");
    let (parent, name) = path.rsplit_once('/').unwrap_or_default();
    let mut walk = Walk {
        archive: Builder::new(BufWriter::with_capacity(1 << 16, io::stdout())),
        upper: false,
        links: HashMap::new(),
        problems,
    };
    let stored = if name.is_empty() {
        b".".to_vec()
    } else {
        name.as_bytes().to_vec()
    };
    if name.is_empty() || follow {
        walk.followed(tree, &path, &stored).setup(what)?;
    } else {
        let folder = tree
            .open(parent, OFlags::PATH | OFlags::DIRECTORY)
            .setup(what)?;
        let name = CString::new(name).map_err(|_| failure(what()))?;
        statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).setup(what)?;
        walk.entry(folder.as_fd(), &name, &stored, 0).setup(what)?;
    }
    walk.archive
        .into_inner()
        .and_then(|mut out| out.flush())
        .setup(|| "write the archive".to_owned())
}

/// What has to be handed on to a process with this program: for
/// [`Program::Changes`] the upper folder of the root's overlay.
///
/// # Errors
/// The folder can't be opened, or `user` says that the sandbox has a user namespace, in
/// which overlayfs's notes can't be read.
pub fn changes(
    program: &Program,
    upper: &Path,
    user: bool,
) -> Result<Vec<(OwnedFd, RawFd)>, Failure> {
    if !matches!(program, Program::Changes { .. }) {
        return Ok(Vec::new());
    }
    if user {
        return Err(failure(
            "the changes in an instance with a user namespace can't be told from its image",
        ));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let upper = rustix::fs::open(upper, flags, Mode::empty())
        .setup(|| "open the writable layer".to_owned())?;
    Ok(vec![(upper, CHANGES)])
}

/// Writes the overlay's upper folder as a layer.
pub(crate) fn write_changes(alone: bool, problems: &mut Problems) -> Result<(), Failure> {
    let what = || "read the changes".to_owned();
    // Whoever made this process put it there; nobody else is to have it.
    let upper = sys::dup_above(CHANGES, CHANGES + 1)
        .map(sys::adopt)
        .setup(what)?;
    if alone {
        end_others().setup(|| "end the other processes".to_owned())?;
    }
    let mut walk = Walk {
        archive: Builder::new(BufWriter::with_capacity(1 << 16, io::stdout())),
        upper: true,
        links: HashMap::new(),
        problems,
    };
    let stat = fstat(&upper).setup(what)?;
    walk.write(None, Some(upper), &stat, b".", 0).setup(what)?;
    walk.archive
        .into_inner()
        .and_then(|mut out| out.flush())
        .setup(|| "write the archive".to_owned())
}

/// Kills all of the pid namespace but the first process and this one, and waits until
/// they are gone.
fn end_others() -> io::Result<()> {
    /// Tries, and the milliseconds between them: longer than any exit takes.
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        match sys::kill_others() {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            other => other?,
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// What overlayfs has noted on a folder.
enum Noted {
    Nothing,
    /// It hides what is below.
    Opaque,
    /// Its content is elsewhere.
    Moved,
}

fn noted(fd: BorrowedFd<'_>) -> Noted {
    let mut value = [0; 1];
    for name in ["trusted.overlay.redirect", "trusted.overlay.metacopy"] {
        match rustix::fs::fgetxattr(fd, name, &mut value) {
            Ok(_) | Err(rustix::io::Errno::RANGE) => return Noted::Moved,
            Err(_) => {}
        }
    }
    match rustix::fs::fgetxattr(fd, "trusted.overlay.opaque", &mut value) {
        Ok(1) if value[0] == b'y' => Noted::Opaque,
        _ => Noted::Nothing,
    }
}

impl Walk<'_> {
    /// The start when it is what a link points to.
    fn followed(&mut self, tree: Tree<'_>, path: &str, stored: &[u8]) -> io::Result<()> {
        let mut stat = fstat(tree.open(path, OFlags::PATH)?)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut fd = None;
        if matches!(kind, FileType::Directory | FileType::RegularFile) {
            let opened = tree.open(path, READ | OFlags::NONBLOCK)?;
            stat = fstat(&opened)?;
            fd = Some(opened);
        }
        self.write(None, fd, &stat, stored, 0)
    }

    /// One name in an open folder. Errors of the archive end the walk; those of the
    /// file are told.
    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        stored: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        let opened = (|| {
            let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let fd = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory | FileType::RegularFile => Some(openat(
                    folder,
                    name,
                    READ | OFlags::NOFOLLOW | OFlags::NONBLOCK,
                    Mode::empty(),
                )?),
                _ => None,
            };
            // What was opened counts, whatever has happened to the name since.
            let stat = fd.as_ref().map_or(Ok(stat), fstat)?;
            Ok::<_, rustix::io::Errno>((fd, stat))
        })();
        match opened {
            Ok((fd, stat)) => self.write(Some((folder, name)), fd, &stat, stored, depth),
            Err(error) => {
                self.problems.tell(format!(
                    "read '{}': {}",
                    shown(stored),
                    reason(&error.into())
                ));
                Ok(())
            }
        }
    }

    fn write(
        &mut self,
        place: Option<(BorrowedFd<'_>, &CStr)>,
        fd: Option<OwnedFd>,
        stat: &Stat,
        stored: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.upper && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return self.mark(&removed(stored), stat);
        }
        let mut record = Record::new(stat, stored);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                record.header.set_entry_type(EntryType::Link);
                record.link(first);
                return record.append(&mut self.archive, io::empty());
            }
            self.links
                .insert((stat.st_dev, stat.st_ino), stored.to_vec());
        }
        let mut opaque = false;
        if let Some(fd) = &fd {
            record.attributes(fd.as_fd());
            if self.upper {
                record.without("trusted.overlay.");
                match noted(fd.as_fd()) {
                    Noted::Nothing => {}
                    Noted::Opaque => opaque = true,
                    Noted::Moved => self.problems.tell(format!(
                        "read '{}': its content is noted elsewhere",
                        shown(stored)
                    )),
                }
            }
        }
        match (kind, fd, place) {
            (FileType::Directory, Some(fd), _) => {
                record.append(&mut self.archive, io::empty())?;
                if opaque {
                    self.mark(&[stored, OPAQUE].concat(), stat)?;
                }
                self.folder(fd, stored, depth)
            }
            (FileType::RegularFile, Some(fd), _) => self.file(record, fd.into(), stat, stored),
            (FileType::Symlink, _, Some((folder, name))) => {
                match readlinkat(folder, name, Vec::new()) {
                    Ok(target) => record.link(target.as_bytes()),
                    Err(error) => {
                        self.problems.tell(format!(
                            "read '{}': {}",
                            shown(stored),
                            reason(&error.into())
                        ));
                        return Ok(());
                    }
                }
                record.append(&mut self.archive, io::empty())
            }
            (FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo, ..) => {
                record.append(&mut self.archive, io::empty())
            }
            // Sockets have no place in an archive and mean nothing elsewhere.
            _ => Ok(()),
        }
    }

    /// An empty file whose name means something.
    fn mark(&mut self, name: &[u8], stat: &Stat) -> io::Result<()> {
        let mut stat = *stat;
        stat.st_mode = FileType::RegularFile.as_raw_mode();
        stat.st_size = 0;
        let record = Record::new(&stat, name);
        record.append(&mut self.archive, io::empty())
    }

    fn file(
        &mut self,
        mut record: Record,
        mut file: File,
        stat: &Stat,
        stored: &[u8],
    ) -> io::Result<()> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let allocated = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        // Where a file has holes depends on the file system: a layer must not.
        if allocated < size && record.fits() && !self.upper {
            record.append_extensions(&mut self.archive)?;
            return self.archive.append_file(record.path(), &mut file);
        }
        record.header.set_size(size);
        let mut exact = Exact::new(file, size);
        record.append(&mut self.archive, &mut exact)?;
        if let Some(why) = exact.short {
            self.problems
                .tell(format!("read '{}': {why}", shown(stored)));
        }
        Ok(())
    }

    fn folder(&mut self, fd: OwnedFd, stored: &[u8], depth: usize) -> io::Result<()> {
        if depth >= DEEPEST {
            self.problems
                .tell(format!("read '{}': nested too deeply", shown(stored)));
            return Ok(());
        }
        if NO_FILES.contains(&magic(&fd)?) {
            return Ok(());
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)? {
            match entry {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Ok(entry) => names.push(entry.file_name().to_owned()),
                Err(error) => {
                    self.problems.tell(format!(
                        "read '{}': {}",
                        shown(stored),
                        reason(&error.into())
                    ));
                    break;
                }
            }
        }
        names.sort_unstable();
        for name in names {
            let stored = [stored, b"/", name.as_bytes()].concat();
            self.entry(fd.as_fd(), &name, &stored, depth + 1)?;
        }
        Ok(())
    }
}

/// The name that says that this one is gone.
fn removed(stored: &[u8]) -> Vec<u8> {
    let at = stored
        .iter()
        .rposition(|&byte| byte == b'/')
        .map_or(0, |at| at + 1);
    [&stored[..at], REMOVED, &stored[at..]].concat()
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

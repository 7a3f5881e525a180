//! Owner, mode, times and extended attributes, read from one file and given to another.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat,
    chownat, fstat, getxattr, listxattr, listxattr_query, setxattr, utimensat,
};
use rustix::io::Errno;

use crate::tree::by_number;

/// Largest list of names and largest value (xattr(7)).
const LARGEST: usize = 65536;

/// What a file has besides its data.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) atime: Timespec,
    pub(crate) mtime: Timespec,
    pub(crate) extended: Vec<(String, Vec<u8>)>,
}

/// Extended attributes that mean the same elsewhere: the users' own, access control
/// lists, file capabilities. Labels, hashes and marks of overlayfs do not.
pub(crate) fn is_portable(name: &str) -> bool {
    (name.starts_with("user.") && !name.starts_with("user.overlay."))
        || name == "security.capability"
        || name == "system.posix_acl_access"
        || name == "system.posix_acl_default"
}

impl Attributes {
    /// Those of an open file (O_PATH is enough).
    pub(crate) fn read(fd: BorrowedFd<'_>) -> io::Result<Attributes> {
        let stat = fstat(fd)?;
        Attributes::with(&stat, fd)
    }

    /// As before, for who has the stat(2) already.
    pub(crate) fn with(stat: &Stat, fd: BorrowedFd<'_>) -> io::Result<Attributes> {
        let extended = if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            Vec::new()
        } else {
            extended(fd)?
        };
        Ok(Attributes {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            extended,
        })
    }

    /// Gives them to an open file (O_PATH is enough). Owner first: a change of it takes
    /// away set-id bits and file capabilities. Times last.
    pub(crate) fn apply(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        if FileType::from_raw_mode(fstat(fd)?.st_mode) != FileType::Symlink {
            let path = by_number(fd);
            chmodat(
                CWD,
                path.as_str(),
                Mode::from_raw_mode(self.mode),
                AtFlags::empty(),
            )?;
            for (name, value) in &self.extended {
                setxattr(path.as_str(), name.as_str(), value, XattrFlags::empty()).map_err(
                    |error| {
                        let error = io::Error::from(error);
                        io::Error::new(error.kind(), format!("attribute '{name}': {error}"))
                    },
                )?;
            }
        }
        let times = Timestamps {
            last_access: self.atime,
            last_modification: self.mtime,
        };
        Ok(utimensat(fd, "", &times, AtFlags::EMPTY_PATH)?)
    }
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // the types differ between C libraries
fn time(seconds: impl Into<i64>, nanoseconds: u64) -> Timespec {
    Timespec {
        tv_sec: seconds.into(),
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    }
}

fn extended(fd: BorrowedFd<'_>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let path = by_number(fd);
    match listxattr_query(path.as_str()) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = vec![0; LARGEST];
    let length = listxattr(path.as_str(), &mut names)?;
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0) {
        let Some(name) = str::from_utf8(name).ok().filter(|name| is_portable(name)) else {
            continue;
        };
        let mut value = vec![0; LARGEST];
        match getxattr(path.as_str(), name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                found.push((name.to_owned(), value));
            }
            // Gone since.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_host_stays_there() {
        for name in ["user.x", "security.capability", "system.posix_acl_default"] {
            assert!(is_portable(name), "{name}");
        }
        for name in [
            "",
            "user.overlay.opaque",
            "trusted.overlay.opaque",
            "trusted.x",
            "security.selinux",
            "security.ima",
            "system.nfs4_acl",
        ] {
            assert!(!is_portable(name), "{name}");
        }
    }
}

//! Files that are replaced as a whole, and locks that end with their holder.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};

/// Replaces `path` by `value` as JSON: temporary file, fsync, rename, fsync of
/// the folder. A reader sees the old text or the new one.
///
/// # Errors
/// The system refused one of the steps; the old file is then still there.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, true)
}

/// As [`write_json`], but when the host goes down, the text may be lost or empty.
///
/// # Errors
/// As there.
pub fn write_json_unsynced<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, false)
}

fn replace<T: Serialize>(path: &Path, value: &T, sync: bool) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut text = serde_json::to_vec(value).map_err(|error| {
        Error::new(
            Kind::System,
            format!("cannot encode {}: {error}", path.display()),
        )
    })?;
    text.push(b'\n');
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .map_err(|error| Error::io("write in", folder, error))?;
    file.write_all(&text)
        .and_then(|()| {
            if sync {
                file.as_file().sync_all()
            } else {
                Ok(())
            }
        })
        .map_err(|error| Error::io("write", path, error))?;
    file.persist(path)
        .map_err(|error| Error::io("write", path, error.error))?;
    if !sync {
        return Ok(());
    }
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("sync", folder, error))
}

/// Reads JSON; `None` when the file is not there.
///
/// # Errors
/// The file can't be read or is not what it should be.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io("read", path, error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::new(
            Kind::System,
            format!("{} is damaged: {error}", path.display()),
        )
    })
}

/// An exclusive lock on a file (flock(2)). It belongs to the open file, so it can
/// be handed to a child with the descriptor and ends when the last holder ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, waiting for whoever holds it.
    ///
    /// # Errors
    /// The file can't be made or locked.
    pub fn wait(path: &Path) -> Result<Lock> {
        let file = open(path, true)?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| Error::io("lock", path, error))?;
        Ok(Lock { file })
    }

    /// Takes the lock if it is free; `None` if another holds it, or when there is
    /// no such file (the instance is gone).
    ///
    /// # Errors
    /// The file can't be opened or locked.
    pub fn try_take(path: &Path) -> Result<Option<Lock>> {
        let file = match open(path, false) {
            Ok(file) => file,
            Err(_) if !path.exists() => return Ok(None),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io("lock", path, error)),
        }
    }

    /// The lock behind a descriptor that was inherited.
    pub fn inherited(fd: OwnedFd) -> Lock {
        Lock {
            file: File::from(fd),
        }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open(path: &Path, create: bool) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .open(path)
        .map_err(|error| Error::io("open", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_replaced_as_a_whole_and_absence_is_not_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1_u32).unwrap();
        write_json(&path, &2_u32).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
        std::fs::write(&path, "{").unwrap();
        assert!(
            read_json::<u32>(&path)
                .unwrap_err()
                .message
                .contains("is damaged")
        );
    }

    #[test]
    fn a_lock_excludes_others_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(Lock::try_take(&path).unwrap().is_none(), "no file, no lock");
        let lock = Lock::wait(&path).unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(lock);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}

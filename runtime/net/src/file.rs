//! Files that are replaced as a whole, and locks that end with their holder.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};

/// Replaces `path` by `value` as JSON: temporary file, fsync, rename, fsync of
/// the folder. A reader sees the old text or the new one.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, true)?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

/// As [`write_json`], for what has no meaning after the next boot: a process that
/// dies leaves a whole file, only a host that does may leave half of one.
pub(crate) fn write_json_for_this_boot<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    replace(path, value, false)
}

fn replace<T: Serialize>(path: &Path, value: &T, durable: bool) -> Result<()> {
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
    let mut write = || {
        file.write_all(&text)?;
        if durable {
            file.as_file().sync_all()
        } else {
            Ok(())
        }
    };
    write().map_err(|error| Error::io("write", path, error))?;
    file.persist(path)
        .map_err(|error| Error::io("write", path, error.error))?;
    Ok(())
}

/// Writes the names in a folder to disk.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("sync", folder, error))
}

/// Reads JSON; `None` when the file is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
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

/// An exclusive lock (flock(2)) until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting for whoever holds it.
    pub(crate) fn wait(path: &Path) -> Result<Lock> {
        let file = Lock::open(path)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|error| Error::io("lock", path, error))?;
        Ok(Lock { _file: file })
    }

    /// Takes the lock, unless somebody holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Lock>> {
        let file = Lock::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io("lock", path, error)),
        }
    }

    fn open(path: &Path) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| Error::io("open", path, error))
    }
}

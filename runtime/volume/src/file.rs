//! Records that are replaced as a whole, and locks that end with their holder.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};

/// How often a lock is tried while it is waited for with a limit.
const EVERY: Duration = Duration::from_millis(10);

/// Replaces `path` by `value` as JSON: temporary file, fsync, rename, fsync of the
/// folder. Whoever calls it is the only writer, so the temporary name is fixed and
/// a killed writer's is overwritten.
///
/// # Errors
/// The system refused one of the steps; the old file is then still there.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::system(format!("encode {}", path.display()), error))?;
    text.push(b'\n');
    let new = path.with_extension("new");
    let written = File::create(&new)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&new, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&new);
        Error::io("write", path, error)
    })?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a folder last.
///
/// # Errors
/// The folder can't be opened or the disk failed.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("sync", folder, error))
}

/// Reads JSON; `None` when the file is not there.
///
/// # Errors
/// The file can't be read or is not what it should be.
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

/// How a lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Beside others that do the same.
    Shared,
    /// Alone.
    Exclusive,
}

/// Takes a lock on the file that is at `path` when the lock is held: one that was
/// removed or replaced meanwhile does not count. `None` when it stayed another's for
/// as long as `wait`; without a limit it is waited for.
///
/// # Errors
/// The file can't be opened, or made when it may be.
pub(crate) fn lock(
    path: &Path,
    mode: Mode,
    create: bool,
    wait: Option<Duration>,
) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        if !lock_file(&file, mode, wait)? {
            return Ok(None);
        }
        let held = file.metadata()?;
        match std::fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (held.dev(), held.ino()) => {
                return Ok(Some(file));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound && create => {}
            Err(error) => return Err(error),
        }
    }
}

/// Locks an open file; false when it stayed another's for as long as `wait`.
///
/// # Errors
/// Those of flock(2).
pub(crate) fn lock_file(file: &File, mode: Mode, wait: Option<Duration>) -> io::Result<bool> {
    let operation = match (mode, wait.is_some()) {
        (Mode::Shared, false) => FlockOperation::LockShared,
        (Mode::Exclusive, false) => FlockOperation::LockExclusive,
        (Mode::Shared, true) => FlockOperation::NonBlockingLockShared,
        (Mode::Exclusive, true) => FlockOperation::NonBlockingLockExclusive,
    };
    let since = Instant::now();
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => match wait {
                Some(wait) if since.elapsed() < wait => std::thread::sleep(EVERY),
                _ => return Ok(false),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// `bytes` random bytes in hexadecimal.
///
/// # Errors
/// The kernel has none to give.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(Kind::System, format!("no random bytes: {error}")))?;
    Ok(hex::encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn json_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1_u32).unwrap();
        std::fs::write(path.with_extension("new"), "half of").unwrap();
        write_json(&path, &2_u32).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(&path, "{").unwrap();
        let error = read_json::<u32>(&path).unwrap_err();
        assert!(error.message.contains("is damaged"), "{error}");
    }

    #[test]
    fn locks_are_shared_or_alone_and_follow_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(lock(&path, Mode::Shared, false, NOW).is_err(), "no file");
        let one = lock(&path, Mode::Shared, true, NOW).unwrap().unwrap();
        let two = lock(&path, Mode::Shared, true, NOW).unwrap().unwrap();
        assert!(lock(&path, Mode::Exclusive, true, NOW).unwrap().is_none());
        drop(one);
        assert!(lock(&path, Mode::Exclusive, true, NOW).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(
            lock(&path, Mode::Exclusive, true, NOW).unwrap().is_some(),
            "the lock of a removed file is nobody's business"
        );
        drop(two);
    }
}

//! The store's locks.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Store;
use crate::error::{Error, Result};

const POLL: Duration = Duration::from_millis(10);

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Store {
    /// Held while content is added or taken into use.
    pub(crate) fn share_content(&self) -> Result<Lock> {
        self.lock("content.lock", FlockOperation::LockShared)
    }

    /// Held while content is deleted. `None` if others still use the store
    /// after `wait`.
    pub(crate) fn own_content(&self, wait: Duration) -> Result<Option<Lock>> {
        let start = Instant::now();
        loop {
            match self.lock("content.lock", FlockOperation::NonBlockingLockExclusive) {
                Ok(lock) => return Ok(Some(lock)),
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            if start.elapsed() >= wait {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Held while the index is changed.
    pub(crate) fn own_index(&self) -> Result<Lock> {
        self.lock("index.lock", FlockOperation::LockExclusive)
    }

    fn lock(&self, name: &str, operation: FlockOperation) -> Result<Lock> {
        let path = self.root.join(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(|e| Error::io("open", &path, e))?;
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(Errno::INTR) => {}
                Err(e) => return Err(Error::io("lock", &path, e.into())),
            }
        }
    }
}

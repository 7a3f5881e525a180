//! What a process is making belongs to no image yet: a file says so while its maker,
//! who holds the file's lock, lives.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::store::Store;

/// Keeps content of the store while it is held.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    root: PathBuf,
    file: Mutex<File>,
}

impl Store {
    fn lease_dir(&self) -> PathBuf {
        self.root().join("leases")
    }

    /// A lease that keeps nothing yet.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn lease(&self) -> Result<Lease> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Until it is locked, a sweep would take it for one of the dead.
        let _lock = self.share_content()?;
        let dir = self.lease_dir();
        fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{}-{number}", std::process::id()));
        let file = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| Error::io("lock", &path, e.into()))?;
        Ok(Lease {
            path,
            root: self.root().to_owned(),
            file: Mutex::new(file),
        })
    }

    /// All that living leases keep. Those of the dead are removed; the content lock
    /// must be held exclusively.
    pub(crate) fn leased(&self) -> Result<HashSet<PathBuf>> {
        let mut kept = HashSet::new();
        let dir = self.lease_dir();
        let Ok(entries) = fs::read_dir(&dir) else {
            return Ok(kept);
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(file) = File::open(&path) else {
                continue;
            };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = fs::remove_file(&path);
                continue;
            }
            let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
            kept.extend(text.lines().map(|line| self.root().join(line)));
        }
        Ok(kept)
    }
}

impl Lease {
    /// Keeps these files and folders of the store. The content lock must be held.
    pub(crate) fn keep(&self, paths: &[PathBuf]) -> Result<()> {
        let mut text = String::new();
        for path in paths {
            let path = path.strip_prefix(&self.root).unwrap_or(path);
            text.push_str(&path.display().to_string());
            text.push('\n');
        }
        let mut file = match self.file.lock() {
            Ok(file) => file,
            Err(poisoned) => poisoned.into_inner(),
        };
        file.write_all(text.as_bytes())
            .map_err(|e| Error::io("write", &self.path, e))
    }

    /// A folder for files that go with the lease.
    ///
    /// # Errors
    /// It can't be made.
    pub fn folder(&self) -> Result<PathBuf> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = scratch(&self.path).join(number.to_string());
        fs::create_dir_all(&path).map_err(|e| Error::io("create", &path, e))?;
        Ok(path)
    }
}

fn scratch(lease: &Path) -> PathBuf {
    lease.with_extension("files")
}

impl Drop for Lease {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(scratch(&self.path));
        let _ = fs::remove_file(&self.path);
    }
}

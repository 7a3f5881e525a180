//! Which blobs have the content that their names promise.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::CheckTold;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::registry::http::lock;
use crate::store::Store;
use crate::store::blobs::Checked;

/// All files of `blobs/sha256`.
pub(super) struct Blobs {
    healthy: HashSet<Digest>,
    /// What is wrong with others.
    pub(super) wrong: BTreeMap<OsString, String>,
}

impl Blobs {
    /// Reads all of them, several at once.
    pub(super) fn hash(store: &Store, told: CheckTold<'_>) -> Result<Self> {
        let dir = store.blob_dir();
        let read = |e| Error::io("read", &dir, e);
        let mut files = Vec::new();
        for entry in fs::read_dir(&dir).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            let size = fs::metadata(dir.join(&name)).map_or(0, |meta| meta.len());
            files.push((name, size));
        }
        // The largest first, so that none is alone at the end.
        files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let total = files.iter().map(|(_, size)| size).sum();
        let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
        let blobs = Mutex::new(Self {
            healthy: HashSet::new(),
            wrong: BTreeMap::new(),
        });
        let work = || {
            while let Some((name, size)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let judged = judge(&dir, name);
                let mut blobs = lock(&blobs);
                match judged {
                    Ok(digest) => drop(blobs.healthy.insert(digest)),
                    Err(wrong) => drop(blobs.wrong.insert(name.clone(), wrong)),
                }
                let done = done.fetch_add(*size, Ordering::Relaxed) + size;
                told(done, total);
            }
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers.min(files.len()) {
                scope.spawn(work);
            }
        });
        Ok(blobs
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(super) fn count(&self) -> usize {
        self.healthy.len() + self.wrong.len()
    }

    pub(super) fn is_healthy(&self, digest: &Digest) -> bool {
        self.healthy.contains(digest)
    }

    /// There is no file of that name.
    pub(super) fn is_missing(&self, digest: &Digest) -> bool {
        !self.is_healthy(digest) && !self.wrong.contains_key(&OsString::from(digest.hex()))
    }

    /// All that are whole, in a fixed order.
    pub(super) fn healthy(&self) -> Vec<Digest> {
        let mut all: Vec<Digest> = self.healthy.iter().copied().collect();
        all.sort_unstable();
        all
    }
}

/// The digest of a blob that has it, or what is wrong.
fn judge(dir: &Path, name: &OsString) -> std::result::Result<Digest, String> {
    let expected = name.to_str().and_then(Digest::from_hex);
    let expected = expected.ok_or("it is no blob: its name is no digest")?;
    let read = |e: io::Error| format!("it cannot be read: {e}");
    let file = File::open(dir.join(name)).map_err(read)?;
    let found = Checked::new(file).finish().map_err(read)?;
    match found == expected {
        true => Ok(expected),
        false => Err(format!("it is damaged: its content has the digest {found}")),
    }
}

//! What steps of builds have made: small files in the store's folder `builds`, named by
//! the step's key. Each keeps its layer from being swept until it is pruned.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{LayerBlob, Lease, MadeLayer};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::temp::write_atomically;

/// One step's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// What was made.
    pub blob: LayerBlob,
    /// The instruction, for people.
    pub step: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Name of the layer in the store's folder of layers.
    layer: String,
}

/// What pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records that went.
    pub records: u64,
    /// Bytes that were given back to the disk.
    pub freed: u64,
}

impl Store {
    fn build_dir(&self) -> PathBuf {
        self.root().join("builds")
    }

    fn build_path(&self, key: &Digest) -> PathBuf {
        self.build_dir().join(key.hex())
    }

    /// Remembers what the step with this key has made.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn remember(&self, key: &Digest, made: &MadeLayer, step: &str, created: i64) -> Result<()> {
        let _lock = self.share_content()?;
        let dir = self.build_dir();
        fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;
        let name = made.layer.path().file_name().unwrap_or_default();
        let record = BuildRecord {
            blob: made.blob,
            step: step.to_owned(),
            created,
            layer: name.to_string_lossy().into_owned(),
        };
        let text = serde_json::to_vec(&record).map_err(|e| Error::document("a record", e))?;
        write_atomically(&self.temp_dir(), &self.build_path(key), &text)
    }

    /// What the step with this key has made above `below`, if it is still here, and when.
    ///
    /// # Errors
    /// A layer that has to be made anew, and can't.
    pub fn recall(
        &self,
        lease: &Lease,
        key: &Digest,
        below: &[MadeLayer],
    ) -> Result<Option<(MadeLayer, i64)>> {
        let _lock = self.share_content()?;
        let path = self.build_path(key);
        let Some(record) = fs::read(&path).ok().and_then(|text| parse(&text)) else {
            return Ok(None);
        };
        let blob = record.blob;
        if !self.blob_path(&blob.digest).is_file() {
            return Ok(None);
        }
        let mut at = self.lowest();
        for made in below {
            at.push(&made.layer.diff_id, made.layer.path().to_owned());
        }
        lease.keep(&[self.blob_path(&blob.digest)])?;
        lease.keep(&at.candidates(&blob.diff_id))?;
        let layer = match at.existing(&blob.diff_id) {
            Some(layer) => layer,
            None => match self.rebuild_layer(&blob.digest, &blob.diff_id) {
                Ok(built) => at.place(built)?,
                // Damaged: the step is done again.
                Err(Error::BlobDamaged { .. } | Error::DigestMismatch { .. }) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        // When it was last of use.
        if let Ok(file) = File::options().append(true).open(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        let made = MadeLayer {
            layer: self.mountable(layer, blob.diff_id),
            blob,
        };
        Ok(Some((made, record.created)))
    }

    /// All records, with the time since each was last of use.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn build_records(&self) -> Result<Vec<(Digest, BuildRecord, Duration)>> {
        let mut found = Vec::new();
        let Ok(entries) = fs::read_dir(self.build_dir()) else {
            return Ok(found);
        };
        for entry in entries.flatten() {
            let key = entry.file_name().to_str().and_then(Digest::from_hex);
            let record = fs::read(entry.path()).ok().and_then(|text| parse(&text));
            let used = entry.metadata().and_then(|meta| meta.modified());
            if let (Some(key), Some(record), Ok(used)) = (key, record, used) {
                found.push((key, record, used.elapsed().unwrap_or_default()));
            }
        }
        found.sort_by_key(|(_, _, age)| *age);
        Ok(found)
    }

    /// Forgets the records that were not of use for `older`, and deletes what only they
    /// kept.
    ///
    /// # Errors
    /// Others still use the store.
    pub fn prune_builds(&self, older: Duration) -> Result<Pruned> {
        let _lock = self.own_content_or_busy()?;
        let mut pruned = Pruned::default();
        for (key, _, age) in self.build_records()? {
            if age >= older && fs::remove_file(self.build_path(&key)).is_ok() {
                pruned.records += 1;
            }
        }
        pruned.freed = self.sweep()?;
        Ok(pruned)
    }

    /// What the records keep. The content lock must be held.
    pub(crate) fn recorded(&self) -> HashSet<PathBuf> {
        let mut kept = HashSet::new();
        let Ok(entries) = fs::read_dir(self.build_dir()) else {
            return kept;
        };
        let records = entries
            .flatten()
            .filter_map(|entry| parse(&fs::read(entry.path()).ok()?));
        for record in records {
            kept.insert(self.blob_path(&record.blob.digest));
            kept.insert(self.layer_dir().join(record.layer));
        }
        kept
    }
}

/// A record, unless it is damaged or names what no layer can be called.
fn parse(text: &[u8]) -> Option<BuildRecord> {
    let record: BuildRecord = serde_json::from_slice(text).ok()?;
    let plain = PathBuf::from(&record.layer).file_name() == Some(OsStr::new(&record.layer));
    plain.then_some(record)
}

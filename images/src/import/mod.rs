//! Images from root file systems: from tar archives, from folders, and the
//! built-in one.

mod demo;
pub(crate) mod folder;

pub use demo::DemoProgram;

use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::archive::new_manifest;
use crate::changes::RunConfig;
use crate::digest::{Digest, ImageId};
use crate::error::{Error, Result};
use crate::layer::build::Built;
use crate::layer::compress::{BUFFER, read_full};
use crate::layer::packed::as_layer;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::index::{Entry, MANIFEST_TYPE};
use crate::store::ingest::{Blob, BlobSink};

/// Where a root file system comes from.
pub enum ImportSource<'a> {
    /// A tar stream, plain or compressed by gzip, Zstandard, xz or bzip2.
    Tar(&'a mut dyn Read),
    /// A folder. Other file systems mounted in it are left out, sockets too.
    Directory(&'a Path),
}

/// An image configuration as it is written for an imported image.
#[derive(Serialize)]
struct NewConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<&'a str>,
    architecture: String,
    os: String,
    config: &'a RunConfig,
    rootfs: NewRootFs,
    history: [NewHistory<'a>; 1],
}

#[derive(Serialize)]
struct NewRootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: [Digest; 1],
}

#[derive(Serialize)]
struct NewHistory<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<&'a str>,
    comment: &'a str,
}

impl Store {
    /// Makes an image of one layer out of a root file system. `changes` are
    /// instructions of a Dockerfile, as `CMD ["sh"]`.
    pub fn import(
        &self,
        source: ImportSource<'_>,
        name: Option<&Reference>,
        changes: &[String],
    ) -> Result<ImageId> {
        if let Some(name) = name.filter(|name| name.digest().is_some()) {
            let reason = "a new name cannot have a digest".into();
            return Err(Error::Reference {
                input: name.to_string(),
                reason,
            });
        }
        let mut config = RunConfig::default();
        for change in changes {
            config.change(change)?;
        }
        let now = jiff::Timestamp::now().to_string();
        let description = match &source {
            ImportSource::Tar(_) => "imported from a tar archive".to_owned(),
            ImportSource::Directory(path) => format!("imported from {}", path.display()),
        };
        let about = About {
            created: Some(&now),
            comment: &description,
            name,
            config: &config,
        };
        match source {
            ImportSource::Tar(reader) => self.add_image(&about, |sink| copy(reader, sink)),
            ImportSource::Directory(path) => {
                self.add_image(&about, |sink| folder::pack(path, sink))
            }
        }
    }

    fn add_image(
        &self,
        about: &About<'_>,
        fill: impl FnOnce(&mut BlobSink) -> Result<()>,
    ) -> Result<ImageId> {
        let lock = self.share_content()?;
        let added = self
            .ingest(fill)
            .and_then(|(blob, built)| self.commit_layer(about, blob, built));
        drop(lock);
        match &added {
            Ok(id) => self.tell("import", id, about.name),
            Err(_) => self.tidy_up(),
        }
        added
    }

    /// Puts the only layer of a new image and its documents in their places.
    fn commit_layer(&self, about: &About<'_>, blob: Blob, built: Built) -> Result<ImageId> {
        let config = about.document(built.diff_id)?;
        let manifest = new_manifest(&config, &[(blob.digest, blob.size, blob.compression)])?;
        let entry = Entry {
            manifest: Digest::of(&manifest),
            manifest_size: manifest.len() as u64,
            media_type: MANIFEST_TYPE.into(),
            id: Digest::of(&config),
            reference: about.name.map(Reference::without_digest),
            created: about.created.map(str::to_owned),
            size: built.size,
            origin: None,
        };
        let id = entry.id;
        let documents = [
            (id, self.stage(&config)?),
            (entry.manifest, self.stage(&manifest)?),
        ];
        blob.temp.persist(&self.blob_path(&blob.digest))?;
        self.lowest().place(built)?;
        for (digest, temp) in documents {
            temp.persist(&self.blob_path(&digest))?;
        }
        self.change_index(|index| {
            index.add(entry);
            Ok(())
        })?;
        Ok(id)
    }
}

/// What a new image is.
struct About<'a> {
    created: Option<&'a str>,
    comment: &'a str,
    name: Option<&'a Reference>,
    config: &'a RunConfig,
}

impl About<'_> {
    fn document(&self, diff_id: Digest) -> Result<Vec<u8>> {
        let document = NewConfig {
            created: self.created,
            architecture: oci_spec::image::Arch::default().to_string(),
            os: oci_spec::image::Os::default().to_string(),
            config: self.config,
            rootfs: NewRootFs {
                kind: "layers",
                diff_ids: [diff_id],
            },
            history: [NewHistory {
                created: self.created,
                comment: self.comment,
            }],
        };
        serde_json::to_vec(&document).map_err(|e| Error::document("the new configuration", e))
    }
}

pub(crate) fn copy(reader: &mut dyn Read, sink: &mut BlobSink) -> Result<()> {
    let failed = |source| Error::Read {
        what: "the archive".into(),
        source,
    };
    let mut reader = as_layer(reader).map_err(failed)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = read_full(&mut reader, &mut buffer).map_err(failed)?;
        // A refused layer ends the copy too: the stream may have no end.
        if n == 0 || sink.is_abandoned() {
            return Ok(());
        }
        sink.put(&buffer[..n])?;
    }
}

//! Writes images as an archive that both OCI tools and Docker read.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::Serialize;
use serde_json::json;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image;
use crate::layer::tar::EntryKind;
use crate::layer::write::{NewEntry, TarWriter};
use crate::reference::Reference;
use crate::registry::Platform;
use crate::store::Store;
use crate::store::blobs::Checked;
use crate::store::index::{Entry, INDEX_TYPE, NAME, REF_NAME};
use crate::store::resolve::find;
use crate::whole::Whole;

/// An image that is saved, with the names that it is saved under.
struct Saved {
    /// All of it; the image's manifest or the index is its top.
    content: Whole,
    references: Vec<Reference>,
    /// Of the one image that formats without platforms know.
    config: Digest,
    layers: Vec<Digest>,
}

/// An element of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Store {
    /// Writes images with all of their blobs as they came: digests stay the
    /// same. An image that is kept for all platforms is saved with its index
    /// unless one of them is named. An image given by name is saved under this
    /// name, one given by id without. Every blob's digest is checked on the way;
    /// after an error what was written is of no use.
    pub fn save(
        &self,
        images: &[String],
        platform: Option<&Platform>,
        out: impl Write,
    ) -> Result<()> {
        let _lock = self.share_content()?;
        let saved = self.collect(images, platform)?;
        self.write_archive(&saved, out)?;
        for image in &saved {
            self.tell("save", &image.config, image.references.first());
        }
        Ok(())
    }

    /// Writes an image that need not be in the store's index, under these names.
    pub(crate) fn save_entry(
        &self,
        entry: &Entry,
        references: Vec<Reference>,
        out: impl Write,
    ) -> Result<()> {
        let manifest = image::parse_manifest(&self.read_document(&entry.manifest)?)?;
        let saved = Saved {
            content: self.sent(entry, None)?,
            references,
            config: manifest.config,
            layers: manifest.layers,
        };
        self.write_archive(&[saved], out)
    }

    fn write_archive(&self, saved: &[Saved], out: impl Write) -> Result<()> {
        let mut tar = TarWriter::new(io::BufWriter::with_capacity(1 << 20, out));
        tar.entry(&NewEntry::plain(b"blobs", EntryKind::Dir, 0o755))
            .map_err(Error::Write)?;
        tar.entry(&NewEntry::plain(b"blobs/sha256", EntryKind::Dir, 0o755))
            .map_err(Error::Write)?;
        let mut blobs: Vec<Digest> = Vec::new();
        for image in saved {
            blobs.extend(image.content.blobs.iter().map(|blob| blob.digest));
            blobs.extend(image.content.documents.iter().map(|listed| listed.digest));
        }
        let mut written = std::collections::HashSet::new();
        for digest in blobs.into_iter().filter(|&digest| written.insert(digest)) {
            self.save_blob(&digest, &mut tar)?;
        }
        document(&mut tar, "index.json", &index(saved)?)?;
        document(&mut tar, "manifest.json", &docker(saved))?;
        document(
            &mut tar,
            "oci-layout",
            &json!({ "imageLayoutVersion": "1.0.0" }),
        )?;
        tar.finish()
            .and_then(|mut out| out.flush())
            .map_err(Error::Write)
    }

    fn collect(&self, images: &[String], platform: Option<&Platform>) -> Result<Vec<Saved>> {
        let index = self.read_index()?;
        let mut saved: BTreeMap<Digest, Saved> = BTreeMap::new();
        for name in images {
            let entry = find(&index, name)?;
            let content = self.sent(entry, platform)?;
            let known = match saved.entry(content.top()?.digest) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => {
                    // Without a platform it is the one that runs here.
                    let manifest = match platform {
                        Some(_) => image::parse_manifest(&content.top()?.bytes)?,
                        None => image::parse_manifest(&self.read_document(&entry.manifest)?)?,
                    };
                    if let Some(kind) = manifest.artifact {
                        let name = name.clone();
                        return Err(Error::Artifact { name, kind });
                    }
                    let (config, layers) = (manifest.config, manifest.layers);
                    free.insert(Saved {
                        content,
                        references: Vec::new(),
                        config,
                        layers,
                    })
                }
            };
            let given = name
                .parse::<Reference>()
                .ok()
                .map(|name| name.without_digest());
            if given.is_some() && given == entry.reference {
                known.references.extend(given);
            }
        }
        Ok(saved.into_values().collect())
    }

    fn save_blob<W: Write>(&self, digest: &Digest, tar: &mut TarWriter<W>) -> Result<()> {
        let path = self.blob_path(digest);
        let file = self.open_blob(digest)?;
        let size = file
            .metadata()
            .map_err(|e| Error::io("read", &path, e))?
            .len();
        let mut checked = Checked::new(file);
        let name = format!("blobs/sha256/{}", digest.hex());
        let entry = NewEntry::plain(name.as_bytes(), EntryKind::File, 0o644);
        tar.file(&entry, size, &mut Read::by_ref(&mut checked))
            .map_err(Error::Write)?;
        let found = checked.finish().map_err(|e| Error::io("read", &path, e))?;
        if found == *digest {
            Ok(())
        } else {
            Err(Error::BlobDamaged {
                digest: *digest,
                found,
            })
        }
    }
}

fn document<W: Write>(tar: &mut TarWriter<W>, name: &str, content: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(content).map_err(|e| Error::document(name, e))?;
    let entry = NewEntry::plain(name.as_bytes(), EntryKind::File, 0o644);
    tar.file(&entry, text.len() as u64, &mut text.as_slice())
        .map_err(Error::Write)
}

/// The OCI index: an image once for each of its names.
fn index(saved: &[Saved]) -> Result<serde_json::Value> {
    let mut manifests = Vec::new();
    for image in saved {
        let top = image.content.top()?;
        let mut descriptor = json!({
            "mediaType": top.media_type,
            "digest": top.digest,
            "size": top.bytes.len(),
        });
        if image.references.is_empty() {
            manifests.push(descriptor.clone());
        }
        for reference in &image.references {
            descriptor["annotations"] = json!({ NAME: reference, REF_NAME: reference.tag() });
            manifests.push(descriptor.clone());
        }
    }
    Ok(json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests }))
}

fn docker(saved: &[Saved]) -> Vec<DockerImage> {
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let image = |image: &Saved| DockerImage {
        config: blob(&image.config),
        repo_tags: image.references.iter().map(Reference::familiar).collect(),
        layers: image.layers.iter().map(blob).collect(),
    };
    saved.iter().map(image).collect()
}

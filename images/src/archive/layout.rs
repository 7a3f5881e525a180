//! Reads one image of a folder that is an OCI image layout (OCI image specification,
//! "Image Layout"). Nothing in it is trusted: no path leads out of the folder, and all
//! content has the digest and size that lead to it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use serde::Deserialize;

use super::address::{FORM, LayoutAddress, Which};
use super::check::Contents;
use super::documents::{Documents, Found, blob_name};
use super::load::{MAX_DOCUMENT, Progress};
use super::workers::Workers;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::compress::BUFFER;
use crate::making::{Base, Lease};
use crate::registry::Platform;
use crate::registry::manifest::{self, Descriptor, Document};
use crate::store::Store;
use crate::store::ingest::{Blob, BlobSink};
use crate::whole::{Listed, MAX_NESTING};

impl Store {
    /// Adds an image of an image layout, without a name, and keeps it while the lease
    /// lives. What the store has already is not read again.
    ///
    /// # Errors
    /// There is no such layout or image, it is for another platform, or is damaged;
    /// as for [`Store::load`]. Nothing is added then.
    pub fn layout_base(
        &self,
        lease: &Lease,
        address: &LayoutAddress,
        platform: &Platform,
    ) -> Result<Base> {
        let lock = self.share_content()?;
        let based = self.layout_locked(lease, address, platform);
        drop(lock);
        if based.is_err() {
            self.tidy_up();
        }
        based
    }

    fn layout_locked(
        &self,
        lease: &Lease,
        address: &LayoutAddress,
        platform: &Platform,
    ) -> Result<Base> {
        let layout = Layout::open(address)?;
        let image = layout.image(platform)?;
        let name = image.manifest.digest.to_string();
        if let Ok(base) = self.base(lease, &name)
            && base.image.manifest == image.manifest.digest
        {
            return Ok(base);
        }
        let mut contents = self.read_layers(&image)?;
        let checked = contents.check(Found {
            manifest: Some(image.manifest.bytes),
            config: image.config,
            layers: image.layers.iter().map(|d| blob_name(&d.digest)).collect(),
            references: Vec::new(),
            whole: None,
        })?;
        for image in self.commit(contents, vec![checked])? {
            self.tell("load", &image.id, None);
        }
        self.base(lease, &name)
    }

    fn read_layers(&self, image: &LayoutImage<'_>) -> Result<Contents> {
        std::thread::scope(|scope| {
            let workers = Workers::start(scope, self, &|_: Progress| ());
            let mut blobs = HashMap::new();
            for layer in &image.layers {
                // An image may have the same layer more than once.
                if let Entry::Vacant(free) = blobs.entry(blob_name(&layer.digest)) {
                    free.insert(self.read_layer(image.layout, layer, &workers)?);
                }
            }
            Ok(Contents {
                documents: Documents::default(),
                blobs,
                layers: workers.finish(),
            })
        })
    }

    fn read_layer(
        &self,
        layout: &Layout<'_>,
        layer: &Descriptor,
        workers: &Workers,
    ) -> Result<Blob> {
        let name = blob_name(&layer.digest);
        let file = layout.blob(&layer.digest, Some(layer.size))?;
        let (mut sink, reader) = BlobSink::new(self)?;
        workers.add(&name, reader);
        // One byte more would show that it has grown since it was looked at.
        let mut file = file.take(layer.size + 1);
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => sink.put(&buffer[..n])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(layout.unreadable(&name, error)),
            }
        }
        sink.finish(Some(layer.digest))
    }
}

/// A layout's folder.
struct Layout<'a> {
    address: &'a LayoutAddress,
    folder: OwnedFd,
}

/// An image whose documents were read and fit together.
struct LayoutImage<'a> {
    layout: &'a Layout<'a>,
    manifest: Listed,
    config: Vec<u8>,
    /// Lowest first.
    layers: Vec<Descriptor>,
}

impl<'a> Layout<'a> {
    fn open(address: &'a LayoutAddress) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            image_layout_version: String,
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, &address.folder, flags, Mode::empty());
        let folder = folder.map_err(|error| match std::io::Error::from(error) {
            e if e.kind() == ErrorKind::NotFound => address.wrong("there is no such folder", FORM),
            e if e.kind() == ErrorKind::NotADirectory => address.wrong(
                "it is no folder",
                "an archive of a layout is added with `isola load`",
            ),
            e => address.wrong(format!("it cannot be opened: {e}"), FORM),
        })?;
        let layout = Self { address, folder };
        let version = layout.document("oci-layout", None)?;
        let version: Version = serde_json::from_slice(&version)
            .map_err(|error| layout.wrong(format!("its oci-layout is malformed: {error}")))?;
        let version = version.image_layout_version;
        if version.split('.').next() != Some("1") {
            return Err(layout.wrong(format!(
                "it has the unknown version {}",
                version.escape_debug()
            )));
        }
        Ok(layout)
    }

    fn wrong(&self, reason: impl Into<String>) -> Error {
        let hint = "an image layout is a folder with oci-layout, index.json and blobs/sha256, as `skopeo copy IMAGE oci:FOLDER` writes it";
        self.address.wrong(reason, hint)
    }

    fn unreadable(&self, name: &str, error: impl Into<std::io::Error>) -> Error {
        let error = error.into();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                self.wrong(format!("it has no {name}"))
            }
            _ => self.wrong(format!("its {name} cannot be read: {error}")),
        }
    }

    /// Opens a file; links lead nowhere but within the folder.
    fn file(&self, name: &str) -> Result<(File, u64)> {
        // A pipe would block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(&self.folder, name, flags, Mode::empty(), resolve);
        let file = File::from(opened.map_err(|error| self.unreadable(name, error))?);
        let facts = file
            .metadata()
            .map_err(|error| self.unreadable(name, error))?;
        match facts.is_file() {
            true => Ok((file, facts.len())),
            false => Err(self.wrong(format!("its {name} is no file"))),
        }
    }

    fn blob(&self, digest: &Digest, size: Option<u64>) -> Result<File> {
        let name = blob_name(digest);
        let (file, found) = self.file(&name)?;
        match size.filter(|&size| size != found) {
            Some(size) => {
                Err(self.wrong(format!("its {name} has {found} bytes instead of {size}")))
            }
            None => Ok(file),
        }
    }

    /// A small file.
    fn document(&self, name: &str, file: Option<File>) -> Result<Vec<u8>> {
        let file = match file {
            Some(file) => file,
            None => self.file(name)?.0,
        };
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.unreadable(name, error))?;
        match bytes.len() as u64 > MAX_DOCUMENT {
            true => Err(self.wrong(format!("its {name} has more than {MAX_DOCUMENT} bytes"))),
            false => Ok(bytes),
        }
    }

    /// A small blob, checked.
    fn content(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>> {
        let name = blob_name(digest);
        let file = self.blob(digest, size)?;
        let bytes = self.document(&name, Some(file))?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(self.wrong(format!(
                "its {name} is damaged: its content has the digest {found}"
            ))),
        }
    }

    /// The image that is meant.
    fn image(&self, platform: &Platform) -> Result<LayoutImage<'_>> {
        let named = |error: Error| self.wrong(format!("its index.json: {error}"));
        let index = self.document("index.json", None)?;
        let Document::Index(listed) = manifest::parse(&index, None).map_err(named)? else {
            return Err(self.wrong("its index.json is a manifest"));
        };
        let manifest = match (self.address.choose(&listed, platform)?, &self.address.which) {
            (Some(found), _) => self.listed(found)?,
            (None, Which::Digest(digest)) => {
                let bytes = self.content(digest, None)?;
                Listed::new(*digest, bytes, None)
            }
            (None, _) => return Err(self.wrong("it holds no image")),
        };
        let (manifest, config, layers) = self.descend(manifest, platform)?;
        let config = self.content(&config.digest, Some(config.size))?;
        let found = Platform::of_config(&config)?;
        if !found.serves(platform) {
            return Err(Error::NoPlatform {
                name: self.address.to_string(),
                wanted: platform.to_string(),
                found: found.to_string(),
            });
        }
        Ok(LayoutImage {
            layout: self,
            manifest,
            config,
            layers,
        })
    }

    fn listed(&self, found: &Descriptor) -> Result<Listed> {
        let bytes = self.content(&found.digest, Some(found.size))?;
        Ok(Listed::new(found.digest, bytes, Some(&found.media_type)))
    }

    /// From an index to the manifest for a platform, its configuration and its layers.
    fn descend(
        &self,
        mut at: Listed,
        platform: &Platform,
    ) -> Result<(Listed, Descriptor, Vec<Descriptor>)> {
        let name = self.address.to_string();
        for _ in 0..=MAX_NESTING {
            match at.parse()? {
                Document::Manifest {
                    artifact: Some(kind),
                    ..
                } => return Err(Error::Artifact { name, kind }),
                Document::Manifest { config, layers, .. } => return Ok((at, config, layers)),
                Document::Index(below) => {
                    let images: Vec<_> = below.iter().filter(|d| !d.is_attachment()).collect();
                    at = self.listed(match images.as_slice() {
                        // It may not say what it is for; its configuration does.
                        [only] => only,
                        _ => manifest::choose(&name, &below, platform)?,
                    })?;
                }
            }
        }
        let limit = MAX_NESTING.to_string();
        Err(Error::limit("the depth of indexes in indexes", limit))
    }
}

//! Layers that lean on those below.
//!
//! An archive may hold `tmp/x` without `tmp`. Then the folder is the one of the
//! layers below, with its owner, permissions and times, but an overlay shows
//! those of the uppermost layer that has the folder at all. So such a layer
//! takes them over when it is put in its place, and its name tells what it was
//! made for: `<diff id>-<16 digits of the layers below>`. Layers that hold all
//! of their folders are named by their diff id alone and serve every image.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Store;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::build::{Built, Implied, LayerFormat};
use crate::layer::tree::{FolderMeta, Seen};
use crate::{erofs, layer};

/// The layers of an image, from the lowest up to where one is at.
pub(crate) struct Below<'a> {
    store: &'a Store,
    /// Chain id (OCI image specification, "Layer ChainID"); empty at the start.
    chain: String,
    paths: Vec<PathBuf>,
}

impl Store {
    pub(crate) fn lowest(&self) -> Below<'_> {
        Below {
            store: self,
            chain: String::new(),
            paths: Vec::new(),
        }
    }
}

impl Below<'_> {
    /// Where the next layer may be: as one that leans on those below, or not.
    pub(crate) fn candidates(&self, diff_id: &Digest) -> [PathBuf; 2] {
        let below = Digest::of(self.chain.as_bytes()).hex();
        let suffix = match self.store.format() {
            LayerFormat::Erofs => ".erofs",
            LayerFormat::Directory => "",
        };
        let hex = diff_id.hex();
        [
            format!("{hex}{suffix}"),
            format!("{hex}-{}{suffix}", &below[..16]),
        ]
        .map(|name| self.store.layer_dir().join(name))
    }

    /// The next layer, if it is there.
    pub(crate) fn existing(&self, diff_id: &Digest) -> Option<PathBuf> {
        self.find(diff_id, |path| path.exists())
    }

    /// The place of the next layer that `fits`. A layer that occurs twice gets
    /// two places: an overlay takes no folder twice.
    pub(crate) fn find(&self, diff_id: &Digest, fits: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        let mut candidates = self.candidates(diff_id).into_iter();
        candidates.find(|path| !self.paths.contains(path) && fits(path))
    }

    /// Goes on above a layer that is in its place.
    pub(crate) fn push(&mut self, diff_id: &Digest, path: PathBuf) {
        self.chain = match self.chain.as_str() {
            "" => diff_id.to_string(),
            chain => Digest::of(format!("{chain} {diff_id}").as_bytes()).to_string(),
        };
        self.paths.push(path);
    }

    /// Puts the next layer in its place.
    pub(crate) fn place(&self, built: Built) -> Result<PathBuf> {
        let path = self.settle(&built)?;
        built.temp.persist(&path)?;
        Ok(path)
    }

    /// Lets the next layer take over what it leans on, and tells its place.
    pub(crate) fn settle(&self, built: &Built) -> Result<PathBuf> {
        let [plain, leaning] = self.candidates(&built.diff_id);
        if built.implied.is_empty() && !self.paths.contains(&plain) {
            return Ok(plain);
        }
        let mut metas = Vec::new();
        for implied in &built.implied {
            if let Some(meta) = self.folder(&implied.path)? {
                metas.push((implied, meta));
            }
        }
        let path = built.temp.path();
        take_over(self.store.format(), path, &metas).map_err(|e| Error::io("write", path, e))?;
        Ok(leaning)
    }

    /// The folder that the layers below show under this name.
    fn folder(&self, path: &Path) -> Result<Option<FolderMeta>> {
        let components: Vec<&[u8]> = path.iter().map(OsStrExt::as_bytes).collect();
        for layer in self.paths.iter().rev() {
            let seen = match self.store.format() {
                LayerFormat::Erofs => erofs::look(layer, &components)?,
                LayerFormat::Directory => layer::unpack::look(layer, path)?,
            };
            match seen {
                Seen::Folder(meta) => return Ok(Some(meta)),
                Seen::Hidden => return Ok(None),
                Seen::Absent => {}
            }
        }
        Ok(None)
    }
}

fn take_over(
    format: LayerFormat,
    layer: &Path,
    metas: &[(&Implied, FolderMeta)],
) -> std::io::Result<()> {
    if format == LayerFormat::Erofs {
        let file = File::options().write(true).open(layer)?;
        for (implied, meta) in metas {
            erofs::set_folder(&file, implied.inode, meta)?;
        }
        return file.sync_data();
    }
    // The deepest first, so that no folder is closed before those in it.
    for (implied, meta) in metas.iter().rev() {
        layer::unpack::set_folder(&layer.join(&implied.path), meta)?;
    }
    File::open(layer)?.sync_all()
}

/// What stat(2) tells of a folder.
pub(crate) fn folder_meta(meta: &std::fs::Metadata) -> FolderMeta {
    FolderMeta {
        mode: (meta.permissions().mode() & 0o7777) as u16,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), meta.mtime_nsec() as u32),
    }
}

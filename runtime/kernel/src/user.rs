//! A kernel of the user's own.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::image;
use crate::modules::{GUEST, Tree};
use crate::store::{Kernel, Kernels, New, Source};

/// A kernel with all its debugging symbols stays below this.
const LARGEST: u64 = 1 << 30;

impl Kernels {
    /// Takes a copy of the vmlinux or bzImage at `path` and makes it the
    /// default. If the modules of its release are installed next to it
    /// (`../lib/modules/RELEASE`, as with `/boot/vmlinuz-*`), those that a guest
    /// needs are taken along; otherwise it must have them built in.
    pub fn use_path(&self, path: &Path) -> Result<Kernel> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
            .map_err(Error::io("read", path))?;
        let not_a_kernel = |why: String| Error::NotAKernel {
            path: path.to_path_buf(),
            why,
        };
        if bytes.len() as u64 > LARGEST {
            return Err(not_a_kernel("it is larger than 1 GiB".into()));
        }
        let info = image::inspect(&bytes).map_err(not_a_kernel)?;
        let modules = match info.release.as_deref().and_then(|r| module_tree(path, r)) {
            Some(tree) => Tree::open(&tree)?.take(&GUEST)?,
            None => Vec::new(),
        };
        let version = info.release.unwrap_or_else(|| "unknown".into());
        let hash = hex::encode(Sha256::digest(&bytes));
        let locked = self.lock(&mut |_| {})?;
        let name = format!("user-{version}-{}", &hash[..8]);
        locked.add(&New {
            name: name.clone(),
            version,
            source: Source::User,
            format: info.format,
            image: &bytes,
            modules: &modules,
        })?;
        locked.choose(&name)?;
        self.get(&name)
    }
}

/// The module tree that belongs to a kernel at `path`, if there is one.
fn module_tree(path: &Path, release: &str) -> Option<PathBuf> {
    let root = fs::canonicalize(path).ok()?.parent()?.parent()?.to_owned();
    let tree = root.join("lib/modules").join(release);
    tree.join("modules.builtin").exists().then_some(tree)
}

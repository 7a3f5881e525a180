//! A distribution's kernel, taken out of its package. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::image;
use crate::modules::{Module, Tree, Wanted};
use crate::package::{self, Package};
use crate::progress::{Progress, Step, step};
use crate::store::Format;

/// What is taken out of a kernel package.
#[derive(Debug)]
pub struct Unpacked {
    /// How the image is entered. [`Format::Vmlinux`] when the compression of the
    /// package's bzImage is known (gzip, xz, zstd): it is undone then, so that
    /// guests start without the decompressor.
    pub format: Format,
    /// The image.
    pub image: Vec<u8>,
    /// Modules in load order.
    pub modules: Vec<Module>,
}

/// Finds the kernel behind the first of these meta packages that apt knows;
/// `scratch` is a folder that may be written to.
pub fn locate(metas: &[&str], scratch: &Path) -> Result<Package> {
    let mut first = None;
    for meta in metas {
        let found = package::behind(meta, "linux-image-", scratch)
            .and_then(|name| package::locate(&name, scratch));
        match found {
            Err(error @ Error::NoPackage(_)) => first = first.or(Some(error)),
            other => return other,
        }
    }
    Err(first.unwrap_or_else(|| Error::NoPackage(metas.join(", "))))
}

/// Downloads a kernel package and takes it apart in `scratch`.
pub fn unpack(
    package: &Package,
    wanted: &Wanted<'_>,
    scratch: &Path,
    sink: &mut dyn FnMut(&Progress),
) -> Result<Unpacked> {
    let deb = package::download(package, scratch, sink)?;
    step(sink, Step::Unpack(package.name.clone()));
    let root = scratch.join("root");
    fs::create_dir(&root).map_err(Error::io("create", &root))?;
    package::unpack(&deb, &root)?;
    let path = find_image(&root, &package.name)?;
    let packed = fs::read(&path).map_err(Error::io("read", &path))?;
    let format = image::inspect(&packed)
        .map_err(|why| Error::NotAKernel { path, why })?
        .format;
    let (format, image) = match image::unpack_bzimage(&packed) {
        Some(image) if format == Format::BzImage => (Format::Vmlinux, image),
        _ => (format, packed),
    };
    let modules = Tree::open(&find_tree(&root, &package.name)?)?.take(wanted)?;
    Ok(Unpacked {
        format,
        image,
        modules,
    })
}

fn find_image(root: &Path, package: &str) -> Result<PathBuf> {
    only_child(&root.join("boot"), "vmlinuz-")?.ok_or_else(|| Error::Incomplete {
        what: package.to_owned(),
        missing: "boot/vmlinuz-*".into(),
    })
}

/// lib/modules/RELEASE, which is below usr on a merged system.
fn find_tree(root: &Path, package: &str) -> Result<PathBuf> {
    for lib in ["usr/lib/modules", "lib/modules"] {
        if let Some(tree) = only_child(&root.join(lib), "")? {
            return Ok(tree);
        }
    }
    Err(Error::Incomplete {
        what: package.to_owned(),
        missing: "lib/modules".into(),
    })
}

/// The first entry of `folder` whose name starts with `prefix`.
fn only_child(folder: &Path, prefix: &str) -> Result<Option<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(None);
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|n| n.to_str());
            name.is_some_and(|name| name.starts_with(prefix))
        })
        .collect();
    found.sort();
    Ok(found.into_iter().next())
}

//! Files of mounts: found, hashed, copied out.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use isola_images::Digest;
use isola_images::files::FileKind;

use crate::copy::find;
use crate::dockerfile::Word;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::tree::{Node, Tree, shown};

pub(super) fn mounted(tree: &Tree, source: &str, word: &Word) -> Result<Node> {
    let mut nodes = find(tree, source).map_err(|error| error.or_at(word.place))?;
    nodes.pop().ok_or_else(|| {
        Error::at(
            word.place,
            format!("--mount={}: {source:?} is not there", word.text),
        )
    })
}

pub(super) fn hash_tree(key: &mut Key, tree: &Tree, node: &Node) -> Result<()> {
    let meta = tree.meta(node);
    key.add(&node.path).numbers(&[
        meta.kind as u64,
        meta.mode.into(),
        meta.uid.into(),
        meta.gid.into(),
        meta.size,
    ]);
    match meta.kind {
        FileKind::Dir => {
            for child in tree.list(node)? {
                hash_tree(key, tree, &child)?;
            }
        }
        FileKind::Symlink => drop(key.add(&tree.target(node)?)),
        FileKind::File => key.content(tree.read(node)?, &shown(&node.path))?,
        _ => {}
    }
    Ok(())
}

/// Copies files to a new place of the host, which only the build knows.
pub(super) fn copy_out(tree: &Tree, node: &Node, to: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("copy {}", shown(&node.path)), error);
    let meta = tree.meta(node);
    match meta.kind {
        FileKind::Dir => {
            fs::create_dir(to).map_err(failed)?;
            for child in tree.list(node)? {
                let name =
                    <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(child.name());
                copy_out(tree, &child, &to.join(name))?;
            }
        }
        FileKind::File => {
            let mut file = fs::File::create_new(to).map_err(failed)?;
            std::io::copy(&mut tree.read(node)?, &mut file).map_err(failed)?;
        }
        FileKind::Symlink => {
            let target = tree.target(node)?;
            let target = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&target);
            std::os::unix::fs::symlink(target, to).map_err(failed)?;
            return std::os::unix::fs::lchown(to, Some(meta.uid), Some(meta.gid)).map_err(failed);
        }
        // Devices and pipes are of no use in a mount for one step.
        _ => return Ok(()),
    }
    chown(to, Some(meta.uid), Some(meta.gid)).map_err(failed)?;
    fs::set_permissions(to, fs::Permissions::from_mode(meta.mode)).map_err(failed)
}

/// A folder for secrets: in memory where there is such a place.
pub(super) fn secret_folder(lease: &isola_images::making::Lease, index: usize) -> Result<PathBuf> {
    /// TMPFS_MAGIC (linux/magic.h).
    const TMPFS: i64 = 0x0102_1994;
    for place in ["/run", "/dev/shm"] {
        let in_memory = rustix::fs::statfs(place).is_ok_and(|found| found.f_type == TMPFS);
        let unique = lease.folder()?;
        let name = Digest::of(unique.as_os_str().as_encoded_bytes()).hex();
        let folder = Path::new(place).join(format!("isola-secret-{}-{index}", &name[..16]));
        if in_memory && fs::DirBuilder::new().mode(0o700).create(&folder).is_ok() {
            return Ok(folder);
        }
    }
    Ok(lease.folder()?)
}

pub(super) fn write_file(path: &Path, content: &[u8], mode: u32, owner: (u32, u32)) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("write {}", path.display()), error);
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    chown(path, Some(owner.0), Some(owner.1)).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}

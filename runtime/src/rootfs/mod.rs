//! The root file system of a container: the layers of its image, read-only, with
//! a writable folder of its own on top.
//!
//! Everything is mounted in the mount namespace of the instance's supervisor and
//! vanishes with it; the host's mount table never shows a thing.

mod layer;
mod remove;
mod sys;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change,
    move_mount, open_tree, unmount,
};

use serde::{Deserialize, Serialize};

pub use layer::probe_erofs;
pub use remove::remove_tree;

use crate::error::{Error, Kind, Result};

/// Bytes that the options of a mount may have (mount(2): one page, ended by a zero).
const OPTIONS: usize = 4095;

/// Where a layer of an image is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootLayer {
    /// An EROFS image.
    Erofs(PathBuf),
    /// An unpacked folder with whiteouts in the form of overlayfs.
    Directory(PathBuf),
}

impl From<&isola_images::Layer> for RootLayer {
    fn from(layer: &isola_images::Layer) -> RootLayer {
        match &layer.form {
            isola_images::LayerForm::Erofs(path) => RootLayer::Erofs(path.clone()),
            isola_images::LayerForm::Directory(path) => RootLayer::Directory(path.clone()),
        }
    }
}

/// A root file system to be mounted.
#[derive(Clone, Copy, Debug)]
pub struct RootFs<'a> {
    /// The layers, lowest first.
    pub layers: &'a [RootLayer],
    /// Takes what is written; made when absent, with owner and mode of the
    /// image's root folder.
    pub upper: &'a Path,
    /// Scratch folder of overlayfs on the same file system; made when absent.
    pub work: &'a Path,
    /// An existing folder over which it is mounted.
    pub target: &'a Path,
    /// Show the layers' owners through the maps of this user namespace.
    pub namespace: Option<BorrowedFd<'a>>,
    /// Spare the disk: syncs have no effect. For what is removed after its run,
    /// and must not outlive a crash of the host.
    pub volatile: bool,
}

/// Gives the calling process a mount namespace of its own, into which mounts of
/// the host come, and from which none goes back. Call it while there is one thread.
///
/// # Errors
/// Without CAP_SYS_ADMIN.
pub fn enter_private_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|error| Error::system("make a mount namespace", error))?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(|error| Error::system("keep mounts from the host", error))
}

impl RootFs<'_> {
    /// Mounts it. The caller's mount namespace is its own already
    /// ([`enter_private_mounts`]).
    ///
    /// # Errors
    /// A layer that can't be mounted, or an upper folder on a file system that
    /// overlayfs does not write to. Nothing stays mounted then.
    pub fn mount(&self) -> Result<()> {
        let mut stacked = Stacked {
            target: self.target,
            count: 0,
        };
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            let mount = layer::mount(layer, self.namespace)?;
            stacked.push(&mount)?;
            layers.push(mount);
        }
        let top = layers
            .last()
            .ok_or_else(|| Error::new(Kind::Invalid, "the image has no layers"))?;
        self.make_folders(top)?;
        self.overlay(&layers, &mut stacked)?;
        // Overlayfs has clones of the layers' mounts; only its own is to be seen.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let root = open_tree(CWD, self.target, flags)
            .map_err(|error| Error::io("take up the mount", self.target, error))?;
        drop(stacked);
        attach(&root, self.target)
    }

    fn make_folders(&self, top: &OwnedFd) -> Result<()> {
        if self.volatile {
            // Overlayfs leaves a mark there that forbids a second mount.
            remove_tree(self.work)?;
        }
        for folder in [self.upper, self.work] {
            match fs::create_dir(folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io("make the folder", folder, error)),
            }
            if folder == self.upper {
                let like = |error| Error::io("set owner and mode of", folder, error);
                let root = layer::root_of(top.as_fd()).map_err(like)?;
                std::os::unix::fs::chown(folder, Some(root.uid()), Some(root.gid()))
                    .map_err(like)?;
                fs::set_permissions(folder, fs::Permissions::from_mode(root.mode() & 0o7777))
                    .map_err(like)?;
            }
        }
        Ok(())
    }

    fn overlay(&self, layers: &[OwnedFd], stacked: &mut Stacked<'_>) -> Result<()> {
        let open =
            |path: &Path| fs::File::open(path).map_err(|error| Error::io("open", path, error));
        let (upper, work) = (open(self.upper)?, open(self.work)?);
        // Descriptors are short, however long the store's path is, and hold no
        // character that would have to be escaped.
        let lower: Vec<String> = layers.iter().rev().map(by_descriptor).collect();
        let volatile = if self.volatile { ",volatile" } else { "" };
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=nofollow,metacopy=off,index=off{volatile}",
            lower.join(":"),
            by_descriptor(&upper),
            by_descriptor(&work),
        );
        if options.len() > OPTIONS {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "an image of {} layers is more than one mount takes",
                    layers.len()
                ),
            ));
        }
        let options = std::ffi::CString::new(options)
            .map_err(|error| Error::system("mount the overlay", error))?;
        rustix::mount::mount(
            "isola",
            self.target,
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .map_err(|error| self.explain(error.into()))?;
        stacked.count += 1;
        Ok(())
    }

    fn explain(&self, error: io::Error) -> Error {
        /// OVERLAYFS_SUPER_MAGIC (linux/magic.h).
        const OVERLAY: i64 = 0x794c_7630;
        let on_overlay = rustix::fs::statfs(self.upper).is_ok_and(|found| found.f_type == OVERLAY);
        let error = Error::io("mount the overlay with the upper folder", self.upper, error);
        if on_overlay {
            error.hint(
                "the folder is on an overlay itself; Isola's data needs ext4, xfs, btrfs or tmpfs",
            )
        } else {
            error
        }
    }
}

/// Unmounts what [`RootFs::mount`] mounted; that there is nothing is fine. Needed
/// only before its folders are removed while the namespace lives on.
///
/// # Errors
/// Those of umount2(2).
pub fn unmount_root(target: &Path) -> Result<()> {
    match unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("unmount", target, error)),
    }
}

fn by_descriptor(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn attach(mount: &OwnedFd, target: &Path) -> Result<()> {
    move_mount(
        mount,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|error| Error::io("attach a mount to", target, error))
}

/// Mounts that lie one over the other on the target, until they are dropped. A
/// mount has to be somewhere in the namespace to be a layer of an overlay.
struct Stacked<'a> {
    target: &'a Path,
    count: usize,
}

impl Stacked<'_> {
    fn push(&mut self, mount: &OwnedFd) -> Result<()> {
        attach(mount, self.target)?;
        self.count += 1;
        Ok(())
    }
}

impl Drop for Stacked<'_> {
    fn drop(&mut self) {
        for _ in 0..self.count {
            let _ = unmount(self.target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
    }
}

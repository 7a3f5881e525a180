//! The root: taken up by the maker, entered by the child.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use isola_proto::Failure;
use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount,
    unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root};
use rustix::thread::UnshareFlags;

use crate::error::{Setup, failure};
use crate::mountfd::{clone_tree, new_fs};
use crate::sys::{MountChange, mount_setattr};

/// What becomes the root of a sandbox.
#[derive(Clone, Debug)]
pub enum Root {
    /// A mount point or folder of the maker's mount namespace, with what is
    /// mounted below it. The tree itself is not touched beyond mount points
    /// that are absent in it.
    Path(PathBuf),
    /// An empty file system that is read-only at the end, for programs that were
    /// handed everything they need.
    Empty,
}

/// Maker's side: a detached, private copy of the root's mount.
pub(crate) fn take(root: &Root) -> Result<OwnedFd, Failure> {
    match root {
        Root::Empty => {
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            new_fs(
                "tmpfs",
                &[
                    ("mode", Some("0755")),
                    ("size", Some("1m")),
                    ("nr_inodes", Some("256")),
                ],
                attributes,
            )
        }
        Root::Path(path) => {
            let text = utf8(path)?;
            let tree = clone_tree(CWD, text, true).setup(|| format!("open the root '{text}'"))?;
            let private = MountChange {
                propagation: libc::MS_PRIVATE,
                ..MountChange::default()
            };
            mount_setattr(tree.as_fd(), true, private)
                .setup(|| format!("make the root '{text}' private"))?;
            Ok(tree)
        }
    }
}

fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str()
        .ok_or_else(|| failure(format!("the root '{}' is not UTF-8", path.display())))
}

/// Moves this process (it must be single-threaded) to a mount namespace of its own,
/// in which mounts that come from outside are still seen and its own are not seen outside.
///
/// # Errors
/// EPERM.
pub fn private_mounts() -> std::io::Result<()> {
    crate::sys::unshare(UnshareFlags::NEWNS)?;
    Ok(mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )?)
}

/// Child's side, first step: nothing mounted from here on is seen outside.
pub(crate) fn make_private() -> Result<(), Failure> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .setup(|| "make the mounts private".to_owned())
}

/// Attaches `tree` on top of the root that we came with. Look-ups of this process
/// go on in the old root; the new one is reached through its descriptor only.
pub(crate) fn stack(tree: BorrowedFd<'_>) -> Result<(), Failure> {
    move_mount(tree, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .setup(|| "attach the root".to_owned())
}

/// Changes to the root that was stacked last and lets go of everything else: the
/// root that we came with and the `between` mounts that were stacked before.
pub(crate) fn enter(tree: BorrowedFd<'_>, between: u32) -> Result<(), Failure> {
    fchdir(tree).setup(|| "enter the root".to_owned())?;
    match pivot_root(".", ".") {
        // The old root lies on top of the new one now, and on it what was stacked; "." is
        // below them all and its look-up ends at the topmost.
        Ok(()) => {
            for _ in 0..=between {
                unmount(".", UnmountFlags::DETACH).setup(|| "detach the old root".to_owned())?;
            }
        }
        // The old root is the kernel's rootfs (we are in an initramfs), which can't be moved.
        Err(Errno::INVAL) => {
            detach_others();
            chroot(".").setup(|| "change to the root".to_owned())?;
        }
        Err(error) => return Err(error).setup(|| "pivot into the root".to_owned()),
    }
    chdir("/").setup(|| "enter the root".to_owned())?;
    check_alone()
}

/// Nothing lies on top of the root: the way up from it, which a look-up takes
/// through what is mounted there, must end in the same mount.
fn check_alone() -> Result<(), Failure> {
    let mount = |path| {
        let flags = AtFlags::NO_AUTOMOUNT;
        statx(CWD, path, flags, StatxFlags::MNT_ID)
            .map(|stat| stat.stx_mnt_id)
            .setup(|| "look at the root".to_owned())
    };
    if mount("/")? == mount("/..")? {
        Ok(())
    } else {
        Err(failure("the old root can still be reached"))
    }
}

/// Detaches what is mounted below the old root, so that a process that leaves a
/// chroot finds nothing: the way up from the new root leads back into it, because
/// it is stacked on top.
fn detach_others() {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in table.lines().rev() {
        // Fields of proc_pid_mountinfo(5); the fifth is the mount point.
        if let Some(point) = line.split(' ').nth(4).filter(|point| *point != "/") {
            let _ = unmount(
                unescape(point).as_str(),
                UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
            );
        }
    }
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        match rest
            .get(at + 1..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            Some(byte) => {
                plain.push(byte.into());
                rest = &rest[at + 4..];
            }
            None => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain + rest
}

/// Last step on the root: read-only, its submounts as they are.
pub(crate) fn make_readonly(tree: BorrowedFd<'_>) -> Result<(), Failure> {
    let readonly = MountChange {
        set: libc::MOUNT_ATTR_RDONLY,
        ..MountChange::default()
    };
    mount_setattr(tree, false, readonly).setup(|| "make the root read-only".to_owned())
}

/// Opens the root of this process.
pub(crate) fn open_current() -> Result<OwnedFd, Failure> {
    rustix::fs::open(
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .setup(|| "open the root".to_owned())
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn mountinfo_is_unescaped() {
        for (given, plain) in [
            ("/a", "/a"),
            ("/a\\040b", "/a b"),
            ("\\134x\\", "\\x\\"),
            ("/\\9", "/\\9"),
        ] {
            assert_eq!(unescape(given), plain);
        }
    }
}

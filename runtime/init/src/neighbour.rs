//! What one sandbox is given of another.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use isola_proto::Failure;
use rustix::fs::OFlags;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::control::{Control, Message};
use crate::error::{Setup, failure};
use crate::launch::ExitGuard;
use crate::mountfd::clone_tree;
use crate::path::{Tree, magic};
use crate::sys::{self, Forked};
use crate::{process, root, wait};

/// TMPFS_MAGIC.
const TMPFS: i64 = 0x0102_1994;

/// The tmpfs at `path` of the sandbox that the process behind `target` is in: a
/// detached mount of the same file system, for [`crate::Launch::shm`].
///
/// A child enters the mount namespace to get it. The sandbox's processes may have put
/// anything there, so no symbolic link is followed and only a tmpfs is taken.
///
/// # Errors
/// The sandbox has ended, or there is no tmpfs at `path`.
pub fn mount_of(target: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Failure> {
    let (ours, theirs) = Control::pair().setup(|| "make a control socket".to_owned())?;
    match sys::clone3(0, None).setup(|| "start a child process".to_owned())? {
        Forked::Child => {
            let _guard = ExitGuard;
            drop(ours);
            // Not dumpable before any process of the sandbox can see us.
            let tree = process::settle_child().and_then(|()| take(target, path));
            match tree {
                Ok(tree) => {
                    let told = theirs.send(&Message::Mount(tree));
                    sys::exit(if told.is_ok() { 0 } else { 125 })
                }
                Err(failure) => process::fail(&theirs, failure),
            }
        }
        Forked::Parent { pidfd, .. } => {
            drop(theirs);
            let answer = ours.receive();
            wait::wait(&pidfd).setup(|| "wait for a child process".to_owned())?;
            match answer.setup(|| "listen to the child".to_owned())? {
                Message::Mount(tree) => Ok(tree),
                Message::Failed(failure) => Err(failure),
                _ => Err(failure("the child gave no mount")),
            }
        }
    }
}

fn take(target: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Failure> {
    let what = || format!("open '{path}' of the other sandbox");
    match move_into_thread_name_spaces(target, ThreadNameSpaceType::MOUNT) {
        Err(rustix::io::Errno::SRCH) => Err(failure("the other sandbox has ended")),
        other => other.setup(what),
    }?;
    let root = root::open_current()?;
    let place = Tree(root.as_fd())
        .open_real(path, OFlags::PATH | OFlags::DIRECTORY)
        .setup(what)?;
    if magic(&place).setup(what)? != TMPFS {
        return Err(failure(format!("{}: it is no tmpfs", what())));
    }
    clone_tree(place.as_fd(), "", false).setup(what)
}

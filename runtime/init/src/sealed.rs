//! Programs of our own that a workload can reach but must not change.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::CWD;

use crate::mountfd::clone_tree;
use crate::sys::{MountChange, mount_setattr};

/// Opens a program behind a read-only mount of its own that nobody else can
/// reach. A workload that gets hold of `/proc/PID/exe` of a process that was
/// executed from it, or is on its way into the sandbox, can't write to the file
/// (CVE-2019-5736).
///
/// # Errors
/// There is no such file, or no CAP_SYS_ADMIN.
pub fn sealed(program: &Path) -> io::Result<File> {
    let text = program.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let tree = clone_tree(CWD, text, false)?;
    let readonly = MountChange {
        set: libc::MOUNT_ATTR_RDONLY,
        ..MountChange::default()
    };
    mount_setattr(tree.as_fd(), false, readonly)?;
    Ok(File::from(tree))
}

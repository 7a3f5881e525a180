//! Terminals, always from the sandbox's own devpts and always by descriptor: a
//! path like /dev/pts/0 could be something else by now (CVE-2025-52565).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use isola_proto::Failure;
use isola_proto::spec::TermSize;
use rustix::fs::{Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::dev::Dev;
use crate::error::{Setup, failure};
use crate::mountfd::{attach, clone_tree};
use crate::path::{Tree, magic};
use crate::sources::is_device;

/// DEVPTS_SUPER_MAGIC of linux/magic.h.
const DEVPTS: i64 = 0x1cd1;

/// Both ends of a new terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

/// Allocates a terminal from the root folder of a devpts.
pub(crate) fn allocate(pts: BorrowedFd<'_>, size: TermSize) -> Result<Terminal, Failure> {
    let what = || "allocate a terminal".to_owned();
    if magic(pts).setup(what)? != DEVPTS {
        return Err(failure("allocate a terminal: /dev/pts is not a devpts"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let master = openat(pts, "ptmx", flags, Mode::empty()).setup(what)?;
    if magic(&master).setup(what)? != DEVPTS || !is_device(&master, 'c', 5, 2) {
        return Err(failure(
            "allocate a terminal: /dev/pts/ptmx is not the terminal multiplexer",
        ));
    }
    unlockpt(&master).setup(what)?;
    let slave = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .setup(what)?;
    resize(&master, size).setup(what)?;
    Ok(Terminal { master, slave })
}

/// Allocates a terminal in a sandbox that runs already.
pub(crate) fn allocate_in(root: Tree<'_>, size: TermSize) -> Result<Terminal, Failure> {
    let pts = root
        .open_real("/dev/pts", OFlags::RDONLY | OFlags::DIRECTORY)
        .setup(|| "open the sandbox's /dev/pts".to_owned())?;
    allocate(pts.as_fd(), size)
}

/// Shows the terminal as /dev/console.
pub(crate) fn bind_console(dev: &Dev, terminal: &Terminal) -> Result<(), Failure> {
    let what = || "bind the terminal to /dev/console".to_owned();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(&dev.folder, "console", flags, Mode::from_raw_mode(0o600)).setup(what)?;
    let tree = clone_tree(terminal.slave.as_fd(), "", false).setup(what)?;
    attach(&tree, &target).setup(what)
}

/// Sets the size of a terminal; either end will do.
///
/// # Errors
/// The descriptor is no terminal.
pub fn resize(terminal: impl AsFd, size: TermSize) -> std::io::Result<()> {
    Ok(tcsetwinsize(
        terminal,
        Winsize {
            ws_row: size.rows,
            ws_col: size.cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?)
}

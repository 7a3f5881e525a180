//! Making an image: a sparse file with an empty ext4 file system.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::syncfs;

use crate::disk::open_disk;
use crate::error::{Error, Kind, Result};
use crate::tree;

const PLACES: [&str; 3] = [
    "/usr/sbin/mkfs.ext4",
    "/sbin/mkfs.ext4",
    "/usr/bin/mkfs.ext4",
];

/// The file that mkfs.ext4 makes in every root folder; an empty volume is empty.
const LOST: &std::ffi::CStr = c"lost+found";

fn mkfs() -> Result<PathBuf> {
    PLACES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "a volume with a size needs mkfs.ext4, which is not installed",
            )
            .hint("apt-get install e2fsprogs")
        })
}

/// Makes the image at `path`, of `size` bytes, without `lost+found`.
///
/// # Errors
/// mkfs.ext4 is missing or failed, or this host can't mount what it made.
pub(crate) fn make(path: &Path, size: u64) -> Result<()> {
    let mkfs = mkfs()?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io("make", path, error))?;
    file.set_len(size)
        .map_err(|error| Error::io("make", path, error))?;
    // Blocks of 4 KiB in any size: a loop device with direct I/O has sectors as large
    // as those of the disk below. On an error of the disk nothing more is written.
    let output = Command::new(&mkfs)
        .args(["-q", "-F", "-m", "0", "-b", "4096", "-e", "remount-ro"])
        .args(["-L", "isola", "-O", "^resize_inode", "-E"])
        .arg("lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::io("run", &mkfs, error))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        let line = line.unwrap_or("no message").trim();
        return Err(Error::new(
            Kind::System,
            format!("{} failed for {size} bytes: {line}", mkfs.display()),
        ));
    }
    empty(path)?;
    sync(&file, path)
}

fn empty(path: &Path) -> Result<()> {
    let mount = open_disk(path, false)?;
    tree::remove(mount.as_fd(), LOST)
        .and_then(|()| Ok(syncfs(tree::reopen(mount.as_fd())?)?))
        .map_err(|error| Error::io("empty", path, error))
}

fn sync(file: &File, path: &Path) -> Result<()> {
    file.sync_all()
        .map_err(|error| Error::io("write", path, error))
}

//! The writable layer of a guest: an ext4 file system in a file. It is made once
//! per size as a template (mkfs.ext4 takes tens of milliseconds) and then copied
//! without its holes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};

use crate::error::{Error, Kind, Result};
use crate::state::Lock;
use crate::workload::Disk;

const PLACES: [&str; 3] = [
    "/usr/sbin/mkfs.ext4",
    "/sbin/mkfs.ext4",
    "/usr/bin/mkfs.ext4",
];

/// Where mkfs.ext4 is.
///
/// # Errors
/// It is not installed.
pub fn mkfs() -> Result<PathBuf> {
    PLACES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "a guest's disk needs mkfs.ext4, which is not installed",
            )
            .hint("apt-get install e2fsprogs")
        })
}

/// Makes the disk at `path` unless it is there already.
///
/// # Errors
/// mkfs.ext4 is missing or failed, or the host's disk is full; nothing is left.
pub(crate) fn ensure(path: &Path, disk: Disk, templates: &Path) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    let template = template(disk.size, templates)?;
    let new = path.with_extension("new");
    let made = copy(&template, &new, disk).and_then(|()| std::fs::rename(&new, path));
    made.map_err(|error| {
        let _ = std::fs::remove_file(&new);
        let error = Error::io("make the guest's disk", path, error);
        if disk.thick {
            error.hint("`--disk thick:` takes all of the space at once")
        } else {
            error
        }
    })
}

fn template(size: u64, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(format!("ext4-{size}"));
    if path.is_file() {
        return Ok(path);
    }
    std::fs::create_dir_all(folder).map_err(|error| Error::io("make the folder", folder, error))?;
    let _lock = Lock::wait(&folder.join("lock"))?;
    if path.is_file() {
        return Ok(path);
    }
    let new = folder.join(format!(".ext4-{size}.new"));
    let made = format(&new, size).and_then(|()| {
        std::fs::rename(&new, &path).map_err(|error| Error::io("write", &path, error))
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    made.map(|()| path)
}

fn format(path: &Path, size: u64) -> Result<()> {
    let mkfs = mkfs()?;
    let file = create(path).map_err(|error| Error::io("write", path, error))?;
    file.set_len(size)
        .map_err(|error| Error::io("write", path, error))?;
    let output = Command::new(&mkfs)
        .args([
            "-q",
            "-F",
            "-m",
            "0",
            "-L",
            "isola",
            "-O",
            "^resize_inode",
            "-E",
        ])
        .arg("lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::io("run", &mkfs, error))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message")
        .trim()
        .to_owned();
    Err(Error::new(
        Kind::System,
        format!(
            "{} failed for a disk of {size} bytes: {line}",
            mkfs.display()
        ),
    ))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Copies what is not a hole.
fn copy(from: &Path, to: &Path, disk: Disk) -> io::Result<()> {
    let source = File::open(from)?;
    let target = create(to)?;
    target.set_len(disk.size)?;
    if disk.thick {
        fallocate(&target, FallocateFlags::empty(), 0, disk.size)?;
    }
    let mut at = 0;
    loop {
        let start = match seek(&source, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return target.sync_data(),
            Err(error) => return Err(error.into()),
        };
        let end = seek(&source, SeekFrom::Hole(start))?;
        copy_range(&source, &target, start, end)?;
        at = end;
    }
}

fn copy_range(source: &File, target: &File, start: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut at = start;
    while at < end {
        let want = buffer
            .len()
            .min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let count = source.read_at(&mut buffer[..want], at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        target.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn thin_disks_stay_thin_and_thick_ones_are_allocated() {
        let folder = tempfile::tempdir().unwrap();
        let templates = folder.path().join("templates");
        let size = 256 << 20;
        let used = |path: &Path| std::fs::metadata(path).unwrap().blocks() * 512;
        let thin = folder.path().join("thin.ext4");
        ensure(&thin, Disk { size, thick: false }, &templates).unwrap();
        assert_eq!(std::fs::metadata(&thin).unwrap().len(), size);
        assert!(used(&thin) < size / 4, "{}", used(&thin));
        let thick = folder.path().join("thick.ext4");
        ensure(&thick, Disk { size, thick: true }, &templates).unwrap();
        assert!(used(&thick) >= size);
        let check = Command::new("/usr/sbin/e2fsck")
            .args(["-f", "-n"])
            .arg(&thin)
            .output()
            .unwrap();
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stdout)
        );
    }

    #[test]
    fn a_size_without_room_for_a_file_system_is_an_error_that_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.ext4");
        let error = ensure(
            &path,
            Disk {
                size: 4096,
                thick: false,
            },
            folder.path(),
        )
        .unwrap_err();
        assert!(error.message.contains("mkfs.ext4 failed"), "{error}");
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["lock"]);
    }
}

//! Files and folders that vanish unless they are put in their place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A file or folder in the store's `tmp`, removed when dropped.
#[derive(Debug)]
pub(crate) struct Temp {
    path: PathBuf,
    is_dir: bool,
    kept: bool,
}

impl Temp {
    /// An empty file, open for reading and writing.
    pub(crate) fn file(parent: &Path) -> Result<(Self, File)> {
        loop {
            let path = new_name(parent);
            match File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
            {
                Ok(file) => {
                    return Ok((
                        Self {
                            path,
                            is_dir: false,
                            kept: false,
                        },
                        file,
                    ));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("create", path, e)),
            }
        }
    }

    /// An empty folder.
    pub(crate) fn dir(parent: &Path) -> Result<Self> {
        loop {
            let path = new_name(parent);
            match fs::create_dir(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        is_dir: true,
                        kept: false,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("create", path, e)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames it to `target`. What it holds must be on the disk already. A
    /// file that is there gives way, since it may be damaged; those who have it
    /// open keep it. A folder that is there stays.
    pub(crate) fn persist(mut self, target: &Path) -> Result<()> {
        if self.is_dir && target.is_dir() {
            return Ok(());
        }
        match fs::rename(&self.path, target) {
            Ok(()) => {
                self.kept = true;
                sync_parent(target)
            }
            // A folder that another process put there meanwhile.
            Err(_) if self.is_dir && target.is_dir() => Ok(()),
            Err(e) => Err(Error::io("create", target, e)),
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.kept {
            let _ = if self.is_dir {
                fs::remove_dir_all(&self.path)
            } else {
                fs::remove_file(&self.path)
            };
        }
    }
}

fn new_name(parent: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    parent.join(format!("{}-{number}", std::process::id()))
}

/// Makes a rename last over a power cut.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("write", parent, e))
}

/// Writes a whole file such that others see the old content or the new one.
pub(crate) fn write_atomically(temp_dir: &Path, target: &Path, content: &[u8]) -> Result<()> {
    let (mut temp, mut file) = Temp::file(temp_dir)?;
    let written = io::Write::write_all(&mut file, content).and_then(|()| file.sync_all());
    written.map_err(|e| Error::io("write", &temp.path, e))?;
    fs::rename(&temp.path, target).map_err(|e| Error::io("write", target, e))?;
    temp.kept = true;
    sync_parent(target)
}

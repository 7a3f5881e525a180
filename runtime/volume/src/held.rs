//! A volume in the hands of an instance.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode as FileMode, OFlags, openat};

use crate::disk::{LET_GO, mount_disk, open_disk, open_image};
use crate::error::{Error, Kind, Result};
use crate::file::{Mode, lock, lock_file, read_json, sync_folder};
use crate::fill::{self, Fill};
use crate::record::Record;
use crate::spec::{Form, check_name, form};

/// How long a supervisor that has just ended may take to let go of a block volume.
const HANDED_OVER: Duration = Duration::from_secs(1);
/// Is in the folder of a block volume once a guest could write to it.
const GIVEN: &str = "given";
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// Where the data of a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// In this folder of the host.
    Folder(PathBuf),
    /// In an ext4 file system in a sparse file, which is mounted by who uses it
    /// ([`Held::mount`]) or, when it is one instance's alone, given to its machine
    /// as a disk ([`Held::disk`]).
    Disk {
        /// The file.
        image: PathBuf,
        /// Its size in bytes; the file system has somewhat less room.
        size: u64,
        /// One instance at a time has it (`block=`); otherwise it is shared (`size=`).
        exclusive: bool,
    },
}

/// A volume that an instance has, for as long as this lives in its supervisor: the
/// locks go with its descriptors, also when the supervisor is killed.
#[derive(Debug)]
pub struct Held {
    name: String,
    folder: PathBuf,
    data: Data,
    user: PathBuf,
    user_lock: File,
    _lock: File,
}

impl Held {
    /// Takes the volume `name` below `volumes` for the instance `owner`.
    pub(crate) fn take(volumes: &Path, name: &str, owner: &str) -> Result<Held> {
        let folder = volumes.join(check_name(name)?);
        let record = read_record(&folder, name)?;
        let form = form(&record.options)?;
        let lock = take_lock(&folder, name, &form)?;
        let (user, user_lock) = register(&folder, name, owner)?;
        let held = Held {
            name: name.to_owned(),
            data: match form {
                Form::Folder => Data::Folder(folder.join("_data")),
                Form::Bind(path) => Data::Folder(path),
                Form::Limited(size) | Form::Block(size) => Data::Disk {
                    image: folder.join("disk.ext4"),
                    size,
                    exclusive: matches!(form, Form::Block(_)),
                },
            },
            folder,
            user,
            user_lock,
            _lock: lock,
        };
        // Read again under the lock: content that is being put in is waited for,
        // content that a killed process has put in by half is put right.
        if read_record(&held.folder, name)?.phase.is_some() {
            Fill::begin(&held.folder, held.open()?.as_fd())?;
        }
        Ok(held)
    }

    /// The volume's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its data is.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Whether a guest could write to the disk itself. From then on the host's kernel
    /// does not mount it: a file system is trusted by who mounts it.
    pub fn is_given(&self) -> bool {
        self.folder.join(GIVEN).exists()
    }

    fn refuse_given(&self) -> Result<()> {
        if !self.is_given() {
            return Ok(());
        }
        let why = "has been a guest's disk, which the host's kernel does not mount";
        Err(self.unsupported(why).hint("use its files in a guest"))
    }

    /// Opens the root folder of its files. For a disk that is a mount which nobody
    /// else sees and which ends with the descriptor.
    ///
    /// # Errors
    /// The folder is gone (`o=bind`), it has been a guest's disk, or those of
    /// [`open_disk`].
    pub fn open(&self) -> Result<OwnedFd> {
        self.refuse_given()?;
        match &self.data {
            Data::Folder(path) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                openat(CWD, path, flags, FileMode::empty()).map_err(|error| {
                    Error::io(
                        &format!("open the data of volume '{}',", self.name),
                        path,
                        error,
                    )
                })
            }
            Data::Disk { image, .. } => open_disk(image, false),
        }
    }

    /// Mounts the volume's disk on the existing folder `target` in the caller's mount
    /// namespace; not for volumes with [`Data::Folder`].
    ///
    /// # Errors
    /// It has been a guest's disk, or those of [`mount_disk`].
    pub fn mount(&self, target: &Path, readonly: bool) -> Result<()> {
        self.refuse_given()?;
        match &self.data {
            Data::Folder(_) => Err(self.unsupported("has no disk to mount")),
            Data::Disk { image, .. } => mount_disk(image, target, readonly),
        }
    }

    /// Opens the image of a block volume for a machine. The file carries a lock that
    /// lives as long as the machine has the descriptor (or a copy), even when the
    /// supervisor was killed: until then nobody else gets the disk. Mounts of a
    /// supervisor that has just ended are waited for. One that can be written to is
    /// never mounted by the host again.
    ///
    /// # Errors
    /// Not a block volume, or still mounted or in a machine after ten seconds.
    pub fn disk(&self, readonly: bool) -> Result<File> {
        match &self.data {
            Data::Disk {
                image,
                exclusive: true,
                ..
            } => {
                if !readonly && !self.is_given() {
                    let path = self.folder.join(GIVEN);
                    File::create(&path).map_err(|error| Error::io("make", &path, error))?;
                    sync_folder(&self.folder)?;
                }
                open_image(image, Mode::Exclusive, !readonly, LET_GO)
            }
            _ => Err(self.unsupported("is shared: no machine can have it as a disk")),
        }
    }

    /// Copies what the image has at the volume's place (`source`, a folder opened in
    /// the image's root) into the volume, if that is empty: owners, modes, times, access
    /// control lists, file capabilities, links, nodes, holes, and the folder's own owner
    /// and mode. `data` is the volume's root folder, from [`Held::open`] or where it is
    /// mounted. Says whether files were copied.
    ///
    /// Whoever comes at the same time waits and then finds it done. A copy that a crash
    /// interrupted is dropped, or finished if only its last step was missing, by the next
    /// [`Volumes::take`](crate::Volumes::take).
    ///
    /// # Errors
    /// What can't be read or written; the volume is then as it was.
    pub fn copy_up(&self, source: BorrowedFd<'_>, data: BorrowedFd<'_>) -> Result<bool> {
        fill::copy_up(&self.folder, source, data)
    }

    /// The right to put content in, with `data` from [`Held::open`].
    pub(crate) fn fill(&self, data: BorrowedFd<'_>) -> Result<Fill> {
        Fill::begin(&self.folder, data)
    }

    fn unsupported(&self, why: &str) -> Error {
        Error::new(Kind::Unsupported, format!("volume '{}' {why}", self.name))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Unless the same instance holds it a second time.
        if lock_file(&self.user_lock, Mode::Exclusive, AT_ONCE).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.user);
        }
    }
}

/// The record of an existing volume.
pub(crate) fn read_record(folder: &Path, name: &str) -> Result<Record> {
    read_json(&folder.join("record.json"))?.ok_or_else(|| no_such(name))
}

pub(crate) fn no_such(name: &str) -> Error {
    Error::new(Kind::NoSuch, format!("no such volume: {name}"))
}

fn take_lock(folder: &Path, name: &str, form: &Form) -> Result<File> {
    let path = folder.join("use.lock");
    // Whoever removes a volume holds it alone for a moment, and then it is gone.
    let (mode, wait) = match form {
        Form::Block(_) => (Mode::Exclusive, Some(HANDED_OVER)),
        _ => (Mode::Shared, None),
    };
    match lock(&path, mode, false, wait) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(busy(name, &users(folder)).hint(
            "a block volume belongs to one instance at a time; volumes without block= are shared",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(no_such(name)),
        Err(error) => Err(Error::io("lock", &path, error)),
    }
}

/// The error for a volume that others have.
pub(crate) fn busy(name: &str, users: &[String]) -> Error {
    let list = if users.is_empty() {
        "another process".to_owned()
    } else {
        let short = |user: &String| user.get(..12).unwrap_or(user).to_owned();
        users.iter().map(short).collect::<Vec<_>>().join(", ")
    };
    Error::new(
        Kind::Conflict,
        format!("volume '{name}' is in use by {list}"),
    )
}

fn register(folder: &Path, name: &str, owner: &str) -> Result<(PathBuf, File)> {
    let path = folder.join("users").join(check_name(owner)?);
    // Nobody keeps it alone but who sweeps, for a moment.
    match lock(&path, Mode::Shared, true, None) {
        Ok(Some(file)) => Ok((path, file)),
        Ok(None) => Err(busy(name, &[])),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(no_such(name)),
        Err(error) => Err(Error::io("lock", &path, error)),
    }
}

/// Who has the volume at this moment. What killed users left is removed.
pub(crate) fn users(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("users")) else {
        return Vec::new();
    };
    let mut users: Vec<String> = entries
        .flatten()
        .filter(
            |entry| match lock(&entry.path(), Mode::Exclusive, false, AT_ONCE) {
                Ok(Some(_stale)) => {
                    let _ = std::fs::remove_file(entry.path());
                    false
                }
                Ok(None) => true,
                Err(_) => false,
            },
        )
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    users.sort();
    users
}

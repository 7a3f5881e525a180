//! All volumes: making, finding, removing.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use isola_journal::{Event, Journal, Subject};

use crate::disk::open_image;
use crate::error::{Error, Kind, Result};
use crate::file::{Mode, lock, random_hex, read_json, sync_folder, write_json};
use crate::held::{Held, busy, no_such, read_record, users};
use crate::record::{ANONYMOUS, Inspect, Record, UsageData};
use crate::spec::{Form, VolumeSpec, check_driver, check_name, form, valid_name};
use crate::{image, tree, usage};

/// Folders that are not, or no more, volumes; no name of one starts with a dot.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";
/// How long the mounts of a supervisor that was killed may take to go away.
const TORN_DOWN: Duration = Duration::from_secs(2);

/// The volumes below a data root.
#[derive(Clone, Debug)]
pub struct Volumes {
    pub(crate) folder: PathBuf,
    /// Where changes are told.
    journal: Journal,
}

/// A volume that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// It was made without a name, for one instance.
    pub anonymous: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options as they were given.
    pub options: BTreeMap<String, String>,
    /// When it was made (RFC 3339, UTC).
    pub created: String,
    /// One instance at a time can have it (`block=`).
    pub block: bool,
}

/// All volumes, by name.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those that are whole.
    pub volumes: Vec<Volume>,
    /// Why others can't be shown: their records are damaged. `remove` takes them.
    pub damaged: Vec<Error>,
}

impl Volumes {
    /// The volumes below the data root, whose folder is made when absent.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn open(root: &Path) -> Result<Volumes> {
        let folder = root.join("volumes");
        // Users of the host have no business with what is owned by a container's root.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| Error::io("make the folder", &folder, error))?;
        Ok(Volumes {
            folder,
            journal: Journal::of(root),
        })
    }

    /// Makes a volume, or returns the one of that name if its options mean the same. A
    /// spec without options takes any volume of that name, as `-v NAME:/x` does. Labels
    /// are those that it was first made with. Of many makers at once one makes it.
    ///
    /// # Errors
    /// Malformed name, unknown driver or option, another volume of that name, mkfs.ext4
    /// is missing, the disk is full. Nothing is left then.
    pub fn create(&self, spec: &VolumeSpec) -> Result<Volume> {
        check_driver(&spec.driver)?;
        let wanted = form(&spec.options)?;
        let name = match &spec.name {
            Some(name) => check_name(name)?.to_owned(),
            None => random_hex(32)?,
        };
        let _lock = self.lock()?;
        let target = self.folder.join(&name);
        if let Some(found) = read_json::<Record>(&target.join("record.json"))? {
            if !spec.options.is_empty() && form(&found.options)? != wanted {
                return Err(Error::new(
                    Kind::Conflict,
                    format!("volume '{name}' exists with other options"),
                )
                .hint(format!("`isola volume inspect {name}` shows them; choose another name, or remove it first")));
            }
            return volume(found);
        }
        let record = record(name, spec);
        let new = self.folder.join(format!("{NEW}{}", random_hex(8)?));
        let made = make(&new, &record, &wanted).and_then(|()| {
            std::fs::rename(&new, &target)
                .map_err(|error| Error::io("make the volume", &target, error))?;
            sync_folder(&self.folder)
        });
        if let Err(error) = made {
            let _ = std::fs::remove_dir_all(&new);
            return Err(error);
        }
        self.tell("create", &record.name);
        volume(record)
    }

    /// The volume `name`; `None` if there is none.
    ///
    /// # Errors
    /// The name is malformed or the record damaged.
    pub fn find(&self, name: &str) -> Result<Option<Volume>> {
        let path = self.folder.join(check_name(name)?).join("record.json");
        read_json::<Record>(&path)?.map(volume).transpose()
    }

    /// All volumes.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        for name in self.names()? {
            match self.find(&name) {
                Ok(Some(volume)) => listing.volumes.push(volume),
                // Removed meanwhile.
                Ok(None) => {}
                Err(error) => listing.damaged.push(error),
            }
        }
        Ok(listing)
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.folder)
            .map_err(|error| Error::io("read", &self.folder, error))?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| valid_name(name))
            .collect();
        names.sort();
        Ok(names)
    }

    /// What Docker's `volume inspect` tells; `usage` adds what it takes, for which all
    /// of its files are looked at.
    ///
    /// # Errors
    /// No such volume, a damaged record, or a folder that can't be read.
    pub fn inspect(&self, name: &str, usage: bool) -> Result<Inspect> {
        let folder = self.folder.join(check_name(name)?);
        let record = read_record(&folder, name)?;
        let form = form(&record.options)?;
        let mountpoint = match &form {
            Form::Bind(path) => path.clone(),
            _ => folder.join("_data"),
        };
        let usage_data = if usage {
            Some(UsageData {
                ref_count: i64::try_from(users(&folder).len()).unwrap_or(i64::MAX),
                size: usage::of(&folder, &form)?,
            })
        } else {
            None
        };
        Ok(Inspect {
            created_at: record.created,
            driver: "local".to_owned(),
            labels: record.labels,
            mountpoint: mountpoint.to_string_lossy().into_owned(),
            name: record.name,
            options: record.options,
            scope: "local".to_owned(),
            usage_data,
        })
    }

    /// Instances that have the volume at this moment, by id.
    pub fn users(&self, name: &str) -> Vec<String> {
        if valid_name(name) {
            users(&self.folder.join(name))
        } else {
            Vec::new()
        }
    }

    /// Takes the volume for the instance `owner`. It waits for a copy into the volume,
    /// and puts right what a killed one has left.
    ///
    /// # Errors
    /// No such volume; a block volume that another instance has.
    pub fn take(&self, name: &str, owner: &str) -> Result<Held> {
        Held::take(&self.folder, name, owner)
    }

    /// Removes a volume with its data. `claims` gives the instances, stopped ones
    /// included, that were made with the volume.
    ///
    /// # Errors
    /// No such volume, or in use: the error names by whom.
    pub fn remove(&self, name: &str, claims: impl Fn(&str) -> Vec<String>) -> Result<()> {
        check_name(name)?;
        let gone = {
            let _lock = self.lock()?;
            self.hide(name, &claims)?
        };
        self.tell("destroy", name);
        // Out of sight already: if this fails, the next change goes on with it.
        self.with_folder(|folder| take_away(folder, &gone))
            .map_err(|error| Error::io("remove", &self.folder.join(name), error))
    }

    /// Something happened to a volume.
    fn tell(&self, action: &str, name: &str) {
        let event = Event::now(Subject::Volume, action, name);
        self.journal.tell(&event.with([("driver", "local")]));
    }

    /// Moves an unused volume out of sight. The caller holds the lock.
    pub(crate) fn hide(
        &self,
        name: &str,
        claims: &impl Fn(&str) -> Vec<String>,
    ) -> Result<std::ffi::CString> {
        let folder = self.folder.join(name);
        if !folder.is_dir() {
            return Err(no_such(name));
        }
        let mut found = claims(name);
        found.extend(users(&folder));
        found.sort();
        found.dedup();
        if !found.is_empty() {
            return Err(busy(name, &found).hint("remove these instances first"));
        }
        // Nobody takes it from here on.
        let path = folder.join("use.lock");
        let _alone = match lock(&path, Mode::Exclusive, false, Some(Duration::ZERO)) {
            Ok(Some(file)) => Some(file),
            Ok(None) => return Err(busy(name, &users(&folder))),
            // Damaged: no one can take it either.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("lock", &path, error)),
        };
        let image = folder.join("disk.ext4");
        let _image = if image.is_file() {
            Some(open_image(&image, Mode::Exclusive, false, TORN_DOWN)?)
        } else {
            None
        };
        let gone = format!("{GONE}{}", random_hex(8)?);
        std::fs::rename(&folder, self.folder.join(&gone))
            .map_err(|error| Error::io("remove", &folder, error))?;
        sync_folder(&self.folder)?;
        std::ffi::CString::new(gone).map_err(|error| Error::io("remove", &folder, error))
    }

    pub(crate) fn with_folder<T>(
        &self,
        act: impl FnOnce(BorrowedFd<'_>) -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        act(File::open(&self.folder)?.as_fd())
    }

    /// The right to make and remove volumes; sweeps what killed processes left.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.folder.join(".lock");
        let held = lock(&path, Mode::Exclusive, true, None)
            .and_then(|held| held.ok_or_else(|| ErrorKind::WouldBlock.into()))
            .map_err(|error| Error::io("lock", &path, error))?;
        self.with_folder(|folder| {
            for name in tree::names(folder)? {
                let bytes = name.as_bytes();
                if bytes.starts_with(NEW.as_bytes()) || bytes.starts_with(GONE.as_bytes()) {
                    take_away(folder, &name)?;
                }
            }
            Ok(())
        })
        .map_err(|error| Error::io("clean", &self.folder, error))?;
        Ok(held)
    }
}

/// Removes a folder that is out of sight. Others may be at the same: whoever removes one
/// does so without the lock, and whoever takes the lock sweeps. So what has gone
/// meanwhile is no failure, and what is left is looked at again.
fn take_away(folder: BorrowedFd<'_>, name: &CStr) -> std::io::Result<()> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        match tree::remove(folder, name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
    }
    tree::remove(folder, name)
}

fn record(name: String, spec: &VolumeSpec) -> Record {
    let mut labels = spec.labels.clone();
    let anonymous = spec.anonymous || spec.name.is_none();
    if anonymous {
        labels.insert(ANONYMOUS.to_owned(), String::new());
    }
    let now = jiff::Timestamp::now();
    Record {
        name,
        created: jiff::Timestamp::from_second(now.as_second())
            .unwrap_or(now)
            .to_string(),
        labels,
        options: spec.options.clone(),
        anonymous,
        phase: None,
    }
}

/// What is told of a record.
pub(crate) fn volume(record: Record) -> Result<Volume> {
    Ok(Volume {
        block: matches!(form(&record.options)?, Form::Block(_)),
        name: record.name,
        anonymous: record.anonymous,
        labels: record.labels,
        options: record.options,
        created: record.created,
    })
}

/// Everything of a volume, in a folder that is not one yet.
fn make(new: &Path, record: &Record, form: &Form) -> Result<()> {
    if let Form::Bind(path) = form
        && !path.is_dir()
    {
        return Err(Error::new(
            Kind::Invalid,
            format!("volume option device={}: no such folder", path.display()),
        ));
    }
    let failed = |error| Error::io("make", new, error);
    let mut builder = DirBuilder::new();
    builder.mode(0o700).create(new).map_err(failed)?;
    builder.create(new.join("users")).map_err(failed)?;
    let data = new.join("_data");
    builder.create(&data).map_err(failed)?;
    // Whatever this process's umask(2) is.
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    File::create(new.join("use.lock")).map_err(failed)?;
    if let Some(size) = form.image() {
        image::make(&new.join("disk.ext4"), size)?;
    }
    write_json(&new.join("record.json"), record)
}

#[cfg(test)]
mod tests;

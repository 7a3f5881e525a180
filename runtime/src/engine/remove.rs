//! Taking instances away.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::events::Events;
use crate::rootfs::remove_tree;
use crate::state::{Lock, Names, Paths, Record, State, valid_name, write_json};

use super::{Engine, Instance};

impl Engine {
    /// Removes an instance; a running one only with `force`, which kills it.
    ///
    /// # Errors
    /// It runs, or its files can't be removed.
    pub fn remove(&self, instance: &Instance, force: bool) -> Result<()> {
        let name = &instance.record.name;
        let free = Lock::try_take(&self.files(instance).lock())?;
        let lock = match free {
            Some(lock) => lock,
            None if force => match self.kill_for_removal(instance)? {
                Some(lock) => lock,
                None => return Ok(()),
            },
            None => self.lock_at_rest(instance)?.ok_or_else(|| {
                Error::new(Kind::Conflict, format!("instance {name} is running")).hint(format!(
                    "`isola stop {name}` first, or remove it with --force"
                ))
            })?,
        };
        let Some(instance) = self.recover(instance.record.clone(), &lock)? else {
            return Ok(());
        };
        remove_files(&self.paths, &self.names, &instance.record)
    }

    /// Ends an instance that runs or is being started. `None` when it has gone
    /// away by itself (`--rm`).
    fn kill_for_removal(&self, instance: &Instance) -> Result<Option<Lock>> {
        let gone = |error: Error| match error.kind {
            Kind::NoSuch => Ok(None),
            _ => Err(error),
        };
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let now = match self.find(&instance.record.id) {
                Ok(now) => now,
                Err(error) => return gone(error),
            };
            // A supervisor that dies meanwhile shows in the lock.
            let stopped = self.end(&now);
            match (self.lock_at_rest(&now), stopped) {
                (Ok(Some(lock)), _) => return Ok(Some(lock)),
                (Ok(None), Err(error)) => return Err(error),
                // It was on its way up when it was asked to stop.
                (Ok(None), Ok(())) if Instant::now() < until => {}
                (Ok(None), Ok(())) => {
                    return Err(Error::new(
                        Kind::Conflict,
                        format!("instance {} is started again and again", now.record.name),
                    ));
                }
                (Err(error), _) => return gone(error),
            }
        }
    }

    /// Gives an instance another name.
    ///
    /// # Errors
    /// The name is malformed or taken.
    pub fn rename(&self, instance: &Instance, name: &str) -> Result<()> {
        if !valid_name(name) {
            return Err(Error::new(Kind::Invalid, format!("invalid name {name:?}"))
                .hint("a name has 2 to 128 of the characters a-z A-Z 0-9 _ . - and starts with a letter or digit"));
        }
        let _lock = Lock::wait(&self.paths.lock())?;
        let files = self.files(instance);
        let mut record: Record = crate::state::read_json(&files.config())?.ok_or_else(|| {
            Error::new(
                Kind::NoSuch,
                format!("no such instance: {}", instance.record.name),
            )
        })?;
        if record.name == name {
            return Err(Error::new(
                Kind::Invalid,
                format!("instance {name} has this name already"),
            ));
        }
        self.names.claim(name, &record.id)?;
        let old = std::mem::replace(&mut record.name, name.to_owned());
        if let Err(error) = write_json(&files.config(), &record) {
            self.names.release(name, &record.id);
            return Err(error);
        }
        self.names.release(&old, &record.id);
        self.tell_renamed(instance);
        self.events()
            .instance(&record, "rename", &[("oldName", &old)]);
        Ok(())
    }

    /// Whether any instance was made from the image, and which.
    ///
    /// # Errors
    /// The instances can't be read.
    pub fn users_of_image(&self, image_id: &str) -> Result<Vec<Instance>> {
        Ok(self
            .list()?
            .into_iter()
            .filter(|instance| instance.record.workload.image_id == image_id)
            .collect())
    }

    /// Removes all instances that are at rest; returns their ids.
    ///
    /// # Errors
    /// One of them can't be removed.
    pub fn prune(&self) -> Result<Vec<String>> {
        let resting =
            |instance: &Instance| matches!(instance.status.state, State::Exited | State::Created);
        let mut removed = Vec::new();
        for instance in self.list()?.into_iter().filter(resting) {
            self.remove(&instance, false)?;
            removed.push(instance.record.id);
        }
        Ok(removed)
    }
}

/// Removes an instance's name and folder.
///
/// # Errors
/// The folder can't be renamed or emptied.
pub(super) fn remove_files(paths: &Paths, names: &Names, record: &Record) -> Result<()> {
    remove_tree(&hide_files(paths, names, record)?)
}

/// Takes an instance out of sight; what is returned is still to be removed. A
/// crash before that leaves something that the next command clears, not half an
/// instance.
///
/// # Errors
/// The folder can't be renamed.
pub fn hide_files(paths: &Paths, names: &Names, record: &Record) -> Result<PathBuf> {
    let files = paths.instance(&record.id);
    let dir = files.dir();
    let gone = dir.with_file_name(format!(".gone-{}", record.id));
    match std::fs::rename(dir, &gone) {
        Ok(()) => Events::of(paths).instance(record, "destroy", &[]),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("remove", dir, error)),
    }
    names.release(&record.name, &record.id);
    Ok(gone)
}

/// Removes what a killed command left, if it can be removed.
pub(super) fn clear(path: &Path) {
    if let Err(error) = remove_tree(path) {
        eprintln!("warning: {error}");
    }
}

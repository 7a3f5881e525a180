//! Content put into a volume as one step: it is written to a staging folder in the
//! volume's root, and when it is complete, moved out of it.
//!
//! ```text
//! (none) --begin--> Filling --complete--> Moving/Replacing --moved--> (none)
//!                      |                        |
//!                  crash: dropped         crash: gone on with
//! ```
//! The phase is in the record, which no workload can write: what happens to be named
//! like the staging folder is a file like any other while there is no phase.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode as FileMode, mkdirat, syncfs};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::copy::copy_tree;
use crate::error::{Error, Kind, Result};
use crate::file::{Mode, lock, read_json, write_json};
use crate::merge::merge;
use crate::record::{Phase, Record};
use crate::tree;

/// The staging folder.
const STAGING: &CStr = c".isola-filling";

/// The right to fill a volume; one process has it at a time.
pub(crate) struct Fill {
    record: Record,
    path: PathBuf,
    pub(crate) data: OwnedFd,
    _lock: File,
}

impl Fill {
    /// Waits for whoever fills the volume, and then ends what a killed process has
    /// begun: `folder` is the volume's, `data` the root of its files.
    ///
    /// # Errors
    /// The volume is gone; the system refused.
    pub(crate) fn begin(folder: &Path, data: BorrowedFd<'_>) -> Result<Fill> {
        let guard = folder.join("fill.lock");
        let held = lock(&guard, Mode::Exclusive, true, None)
            .map_err(|error| Error::io("lock", &guard, error))?
            .ok_or_else(|| Error::io("lock", &guard, Errno::WOULDBLOCK))?;
        let path = folder.join("record.json");
        let record: Record = read_json(&path)?
            .ok_or_else(|| Error::new(Kind::NoSuch, format!("{} is gone", folder.display())))?;
        let data =
            tree::reopen(data).map_err(|error| Error::io("open the data of", folder, error))?;
        let mut fill = Fill {
            record,
            path,
            data,
            _lock: held,
        };
        match fill.record.phase {
            None => {}
            Some(Phase::Filling) => fill.drop_staging()?,
            Some(Phase::Moving) => fill.move_out(false)?,
            Some(Phase::Replacing) => fill.move_out(true)?,
        }
        Ok(fill)
    }

    /// Whether the volume has no file.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        tree::is_empty(self.data.as_fd()).map_err(|error| self.failed("read", error))
    }

    /// Lets `fill` write into the empty staging folder and then moves everything out.
    /// When it fails, the volume is as it was.
    ///
    /// # Errors
    /// That of `fill`, or the system's.
    pub(crate) fn run(
        &mut self,
        replace: bool,
        fill: impl FnOnce(BorrowedFd<'_>, BorrowedFd<'_>) -> Result<()>,
    ) -> Result<()> {
        let before =
            Attributes::read(self.data.as_fd()).map_err(|error| self.failed("read", error))?;
        self.mark(Some(Phase::Filling))?;
        let filled = self.staging().and_then(|staging| {
            fill(staging.as_fd(), self.data.as_fd())?;
            syncfs(&staging).map_err(|error| self.failed("sync", error))
        });
        if let Err(error) = filled {
            // If this fails, too, the next one finds the phase.
            self.drop_staging()?;
            before
                .apply(self.data.as_fd())
                .map_err(|error| self.failed("clean", error))?;
            return Err(error);
        }
        self.mark(Some(if replace {
            Phase::Replacing
        } else {
            Phase::Moving
        }))?;
        self.move_out(replace)
    }

    /// A new staging folder with the attributes of the volume's root.
    fn staging(&self) -> Result<OwnedFd> {
        let data = self.data.as_fd();
        (|| {
            tree::remove(data, STAGING)?;
            mkdirat(data, STAGING, FileMode::RWXU)?;
            let staging = tree::open_folder(data, STAGING)?;
            Attributes::read(data)?.apply(staging.as_fd())?;
            Ok(staging)
        })()
        .map_err(|error: std::io::Error| self.failed("fill", error))
    }

    fn drop_staging(&mut self) -> Result<()> {
        tree::remove(self.data.as_fd(), STAGING).map_err(|error| self.failed("clean", error))?;
        self.mark(None)
    }

    fn move_out(&mut self, replace: bool) -> Result<()> {
        let data = self.data.as_fd();
        let moved = (|| {
            let staging = match tree::open_folder(data, STAGING) {
                Err(Errno::NOENT) => return Ok(()),
                other => other?,
            };
            let attributes = Attributes::read(staging.as_fd())?;
            merge(staging.as_fd(), data, replace)?;
            // Owner and mode before a crash can lose them; the times, which every
            // step changes, once more in the end.
            attributes.apply(data)?;
            tree::remove(data, STAGING)?;
            attributes.apply(data)?;
            Ok(syncfs(data)?)
        })();
        moved.map_err(|error: std::io::Error| self.failed("fill", error))?;
        self.mark(None)
    }

    fn mark(&mut self, phase: Option<Phase>) -> Result<()> {
        self.record.phase = phase;
        write_json(&self.path, &self.record)
    }

    fn failed(&self, what: &str, error: impl Into<std::io::Error>) -> Error {
        let what = format!("{what} volume '{}'", self.record.name);
        Error::system(what, error)
    }
}

/// Copies `source` into an empty volume, as Docker does with what an image has at the
/// volume's place: its files, and its owner, mode and attributes for the root.
pub(crate) fn copy_up(folder: &Path, source: BorrowedFd<'_>, data: BorrowedFd<'_>) -> Result<bool> {
    let mut fill = Fill::begin(folder, data)?;
    if !fill.is_empty()? {
        return Ok(false);
    }
    let name = fill.record.name.clone();
    let failed = |error| Error::system(format!("copy the image's files to volume '{name}'"), error);
    let source = tree::reopen(source).map_err(|error| failed(error.into()))?;
    if tree::is_empty(source.as_fd()).map_err(failed)? {
        Attributes::read(source.as_fd())
            .and_then(|attributes| attributes.apply(fill.data.as_fd()))
            .map_err(failed)?;
        return Ok(false);
    }
    fill.run(false, |staging, _| {
        copy_tree(source.as_fd(), staging).map_err(failed)
    })?;
    Ok(true)
}

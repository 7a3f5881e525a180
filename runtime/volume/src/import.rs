//! Volumes to archives and back.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::{Error, Kind, Result, reason};
use crate::export::export;
use crate::extract::extract;
use crate::merge::clash;
use crate::store::Volumes;
use crate::tree;

impl Volumes {
    /// Writes all files of a volume as a tar archive (GNU, with pax extensions): owners,
    /// times, extended attributes, links, nodes, holes. It may be in use; then each file
    /// is as it was when it was read. A block volume must be free, and not have been a
    /// guest's.
    ///
    /// # Errors
    /// No such volume, a block volume in use or that a guest had, what can't be read or written.
    pub fn export(&self, name: &str, out: impl Write) -> Result<()> {
        let held = self.take(name, "export")?;
        let failed = |error| Error::system(format!("export volume '{name}'"), error);
        let data = held.open()?;
        // What can be read from, whatever the descriptor is for.
        let data = tree::reopen(data.as_fd()).map_err(|error| failed(error.into()))?;
        export(data.as_fd(), out).map_err(failed)
    }

    /// Adds the files of a tar archive (ustar, GNU, pax; not compressed) to a volume.
    /// Files of the same names are replaced, folders are merged, others stay.
    ///
    /// The archive is first unpacked beside the volume's files, on the same file system
    /// and within the volume's limit. An archive that is refused (it leads out of the
    /// volume, goes through links, is damaged, has no room) leaves the volume as it was;
    /// so does a crash until all is unpacked. From then on the files are moved to
    /// their places one by one, each as a whole; a crash in between is made up for by
    /// whoever takes the volume next.
    ///
    /// # Errors
    /// No such volume, a block volume in use, or a bad archive.
    pub fn import(&self, name: &str, input: impl Read) -> Result<()> {
        let held = self.take(name, "import")?;
        let data = held.open()?;
        let mut fill = held.fill(data.as_fd())?;
        fill.run(true, |staging, data| {
            extract(input, staging, data).map_err(|error| refused(name, &error))?;
            check(name, staging, data)
        })
    }
}

fn check(name: &str, staging: BorrowedFd<'_>, data: BorrowedFd<'_>) -> Result<()> {
    let met = clash(staging, data, "")
        .map_err(|error| Error::system(format!("import into volume '{name}'"), error))?;
    match met {
        None => Ok(()),
        Some(path) => Err(Error::new(
            Kind::Conflict,
            format!("cannot import into volume '{name}': '{path}' is a folder on one side only"),
        )),
    }
}

fn refused(name: &str, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Kind::Invalid,
        _ => Kind::System,
    };
    let error = Error::new(
        kind,
        format!("cannot import into volume '{name}': {}", reason(error)),
    );
    match kind {
        Kind::Invalid => error.hint("the volume is as it was"),
        _ => error,
    }
}

/// Unpacks an archive into the empty folder `into`, and nowhere else: what
/// [`Volumes::import`] does with it, without a volume.
///
/// # Errors
/// What is wrong with it.
pub fn check_archive(input: impl Read, into: BorrowedFd<'_>) -> Result<()> {
    extract(input, into, into).map_err(|error| refused("-", &error))
}

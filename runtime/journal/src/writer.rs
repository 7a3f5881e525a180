//! Adding to the journal.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::RECORD_SEPARATOR;
use crate::event::Event;

/// A file of this size is put aside.
const LIMIT: u64 = 1 << 20;
/// Files that were put aside and are kept.
const KEPT: u32 = 3;

/// The journal of a data root.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
    limit: u64,
}

impl Journal {
    /// That below a data root; nothing is opened yet.
    pub fn of(root: &Path) -> Journal {
        Journal {
            folder: root.join("events"),
            limit: LIMIT,
        }
    }

    /// The same with files of another size, for tests.
    #[cfg(test)]
    pub(crate) fn with_limit(self, limit: u64) -> Journal {
        Journal { limit, ..self }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells of something. What has happened has happened: when it can't be written,
    /// nothing fails for that.
    pub fn tell(&self, event: &Event) {
        let _ = self.write(event);
    }

    fn write(&self, event: &Event) -> io::Result<()> {
        let mut text = vec![RECORD_SEPARATOR];
        serde_json::to_writer(&mut text, event)?;
        text.push(b'\n');
        let mut file = match self.open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make()?;
                self.open()?
            }
            other => other?,
        };
        // Once and no more: the rest of a record after another one's would be rubbish.
        let _ = file.write(&text)?;
        match file.metadata()?.len() >= self.limit {
            true => self.put_aside(),
            false => Ok(()),
        }
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        options.open(file(&self.folder, 0))
    }

    pub(crate) fn make(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.folder)
    }

    /// Renames the files by one number. Whoever finds somebody at it leaves it to him.
    fn put_aside(&self) -> io::Result<()> {
        let lock = File::create(self.folder.join("lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        // Another one may have just done it.
        if std::fs::metadata(file(&self.folder, 0))?.len() < self.limit {
            return Ok(());
        }
        for number in (0..KEPT).rev() {
            let (from, to) = (file(&self.folder, number), file(&self.folder, number + 1));
            match std::fs::rename(from, to) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// `journal`, and `journal.1` (the youngest of those that were put aside) and so on.
pub(crate) fn file(folder: &Path, number: u32) -> PathBuf {
    match number {
        0 => folder.join("journal"),
        number => folder.join(format!("journal.{number}")),
    }
}

//! An archive made from a file or folder of the host.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// Writes `source` and what is below it; the top gets the name `top`, or none
/// when it is empty (only the content of a folder is meant). Links are archived
/// as links. Returns what was left out: sockets.
pub(crate) fn pack(
    out: impl Write,
    source: &Path,
    top: &str,
    owners: bool,
) -> io::Result<Vec<PathBuf>> {
    let mut packer = Packer {
        builder: Builder::new(out),
        links: HashMap::new(),
        skipped: Vec::new(),
        owners,
    };
    let name = if top.is_empty() { "." } else { top };
    let mut waiting = vec![(source.to_owned(), PathBuf::from(name))];
    while let Some((path, name)) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).map_err(|error| at(&path, error))?;
        // Without a name of its own the top is the destination, which has its mode.
        if path != source || !top.is_empty() {
            packer
                .add(&path, &name, &metadata)
                .map_err(|error| at(&path, error))?;
        }
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).map_err(|error| at(&path, error))?;
            let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
            let mut names = names
                .collect::<io::Result<Vec<_>>>()
                .map_err(|error| at(&path, error))?;
            // The last is taken first.
            names.sort_by(|a, b| b.cmp(a));
            waiting.extend(
                names
                    .iter()
                    .map(|child| (path.join(child), name.join(child))),
            );
        }
    }
    packer.builder.into_inner()?;
    Ok(packer.skipped)
}

/// Writes single files under the names that they are to have; folders without what is in
/// them. What is gone by now is left out, as sockets are.
pub(crate) fn pack_files<'a>(
    out: impl Write,
    files: impl IntoIterator<Item = (&'a Path, &'a str)>,
) -> io::Result<Vec<PathBuf>> {
    let mut packer = Packer {
        builder: Builder::new(out),
        links: HashMap::new(),
        skipped: Vec::new(),
        owners: false,
    };
    for (path, name) in files {
        let added = fs::symlink_metadata(path).and_then(|metadata| {
            packer.add(path, Path::new(name.trim_start_matches('/')), &metadata)
        });
        match added {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|error| at(path, error))?,
        }
    }
    packer.builder.into_inner()?;
    Ok(packer.skipped)
}

/// The error with the path; that of a receiver that went away stays what it is.
fn at(path: &Path, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => error,
        kind => io::Error::new(kind, format!("{}: {error}", path.display())),
    }
}

struct Packer<W: Write> {
    builder: Builder<W>,
    /// Files with several names: the first name that was archived.
    links: HashMap<(u64, u64), PathBuf>,
    skipped: Vec<PathBuf>,
    owners: bool,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
        let kind = metadata.file_type();
        if kind.is_socket() {
            self.skipped.push(path.to_owned());
            return Ok(());
        }
        let mut header = Header::new_gnu();
        header.set_metadata(metadata);
        if !self.owners {
            header.set_uid(0);
            header.set_gid(0);
        }
        if kind.is_symlink() {
            header.set_size(0);
            return self
                .builder
                .append_link(&mut header, name, fs::read_link(path)?);
        }
        if !kind.is_file() {
            header.set_size(0);
            return self.builder.append_data(&mut header, name, io::empty());
        }
        if metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&key) {
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                return self.builder.append_link(&mut header, name, first);
            }
            self.links.insert(key, name.to_owned());
        }
        // What was announced is what must follow, though the file may grow or
        // shrink meanwhile.
        let size = metadata.len();
        header.set_size(size);
        let content = File::open(path)?.chain(io::repeat(0)).take(size);
        self.builder.append_data(&mut header, name, content)
    }
}

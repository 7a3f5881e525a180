//! A built file tree as a tar stream, for `--output type=tar` and `type=local`.

use std::collections::HashMap;
use std::io::Write;

use isola_images::files::{FileKind, Files, Found};
use isola_images::{EntryKind, Layer, NewEntry, TarWriter};

use crate::copy::kind;
use crate::error::{Error, Result};
use crate::tree::shown;

/// Writes all files that these layers show.
///
/// # Errors
/// A layer that can't be read; `out` can't be written.
pub fn write_tree(layers: &[Layer], out: impl Write) -> Result<()> {
    let files = Files::open(layers)?;
    let mut walk = Walk {
        files: &files,
        tar: TarWriter::new(out),
        links: HashMap::new(),
    };
    let root = files.root()?;
    walk.folder(&root)?;
    walk.tar
        .finish()
        .map(drop)
        .map_err(|error| Error::io("write the file tree", error))
}

struct Walk<'a, W> {
    files: &'a Files,
    tar: TarWriter<W>,
    /// First names of files.
    links: HashMap<(usize, u64), Vec<u8>>,
}

impl<W: Write> Walk<'_, W> {
    fn folder(&mut self, folder: &Found) -> Result<()> {
        for found in self.files.list(folder)? {
            self.put(&found)?;
            if found.meta.kind == FileKind::Dir {
                self.folder(&found)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, found: &Found) -> Result<()> {
        let meta = &found.meta;
        let xattrs = self.files.xattrs(found)?;
        let mut entry = NewEntry {
            path: &found.path,
            kind: kind(meta.kind),
            link: b"",
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: (meta.mtime.0, 0),
            device: meta.device,
            xattrs: &xattrs,
        };
        let first = match meta.kind {
            FileKind::File => self.files.identity(found).and_then(|identity| {
                let known = self.links.get(&identity).cloned();
                self.links.entry(identity).or_insert(found.path.clone());
                known
            }),
            _ => None,
        };
        let target;
        let written = match (&first, meta.kind) {
            (Some(first), _) => {
                entry.kind = EntryKind::HardLink;
                entry.link = first;
                entry.xattrs = &[];
                self.tar.entry(&entry)
            }
            (None, FileKind::File) => {
                let mut content = self.files.read(found)?;
                self.tar.file(&entry, meta.size, &mut content)
            }
            (None, FileKind::Symlink) => {
                target = self.files.target(found)?;
                entry.link = &target;
                self.tar.entry(&entry)
            }
            _ => self.tar.entry(&entry),
        };
        written.map_err(|error| Error::io(format!("write {}", shown(&found.path)), error))
    }
}

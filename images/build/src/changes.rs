//! The layer that a program's changes make: the tar stream that comes from behind the
//! wall, without what only the wall put there, times clamped.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};

use isola_images::files::{FileKind, Files};
use isola_images::making::LayerWriter;
use isola_images::{EntryKind, Layer, NewEntry, TarEntry, TarReader};

use crate::copy::{clamp, clean};
use crate::error::{Error, Kind, Result};

/// Where a wall mounts something in every root.
const MOUNTS: [&str; 6] = [
    "proc",
    "sys",
    "dev",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
];

/// What is known of the root in which the program ran.
pub(crate) struct Surroundings<'a> {
    /// The files below its changes.
    pub(crate) lower: &'a Files,
    /// Where else something was mounted, without a slash in front.
    pub(crate) mounts: Vec<Vec<u8>>,
    /// No time is later, in seconds since 1970.
    pub(crate) epoch: Option<i64>,
}

/// Writes what was changed in a root of these layers as a further layer: without the
/// places where something was mounted, `mounts` besides the usual ones. No time is later
/// than `epoch`, in seconds since 1970.
///
/// # Errors
/// The stream is no archive, or names what can't be; `tar` can't be written.
pub fn write_changes(
    layers: &[Layer],
    mounts: &[String],
    epoch: Option<i64>,
    changes: &mut dyn Read,
    tar: &mut LayerWriter<'_>,
) -> Result<()> {
    let mounts = mounts.iter().map(|path| clean(path.as_bytes()).join(&b'/'));
    let surroundings = Surroundings {
        lower: &Files::open(layers)?,
        mounts: mounts.collect(),
        epoch,
    };
    surroundings.write(changes, tar)
}

/// Paths in a layer.
type Paths = BTreeSet<Vec<u8>>;

/// A folder that is only written if something in it is.
struct Pending {
    path: Vec<u8>,
    entry: TarEntry,
}

impl Surroundings<'_> {
    /// Places of mounts that were made for them, and the folders above these.
    fn stubs(&self) -> Result<(Paths, Paths)> {
        let (mut stubs, mut above) = (BTreeSet::new(), BTreeSet::from([Vec::new()]));
        let own = MOUNTS.iter().map(|path| path.as_bytes().to_vec());
        for path in own.chain(self.mounts.iter().cloned()) {
            let ends = path
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'/')
                .map(|(at, _)| at);
            for end in ends.chain([path.len()]) {
                let part = path[..end].to_vec();
                match self.lower.lookup(&part, false)? {
                    Some(_) => drop(above.insert(part)),
                    None => drop(stubs.insert(part)),
                }
            }
        }
        Ok((stubs, above))
    }

    /// Copies the stream into a layer.
    pub(crate) fn write(&self, changes: &mut dyn Read, tar: &mut LayerWriter<'_>) -> Result<()> {
        let (stubs, above) = self.stubs()?;
        let mut reader = TarReader::new(
            std::io::BufReader::with_capacity(256 << 10, changes),
            "the changes",
        );
        let mut pending: Vec<Pending> = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let path = clean_name(&entry.path)?;
            pending.retain(|folder| is_below(&path, &folder.path));
            let folder = entry.kind == EntryKind::Dir;
            let plain_folder = folder && (stubs.contains(&path) || above.contains(&path));
            if plain_folder && (stubs.contains(&path) || self.is_as_before(&path, &entry)?) {
                pending.push(Pending { path, entry });
                continue;
            }
            let stub = entry.kind == EntryKind::File && entry.size == 0;
            if stub && stubs.contains(&path) {
                continue;
            }
            for folder in pending.drain(..) {
                self.put(&folder.path, &folder.entry, tar, &mut std::io::empty())?;
            }
            let mut data = Data(&mut reader);
            self.put(&path, &entry, tar, &mut data)?;
        }
        Ok(())
    }

    /// Only its time differs, if anything.
    fn is_as_before(&self, path: &[u8], entry: &TarEntry) -> Result<bool> {
        let Some(found) = self.lower.lookup(path, false)? else {
            return Ok(false);
        };
        let meta = &found.meta;
        Ok(meta.kind == FileKind::Dir
            && meta.mode == entry.mode & 0o7777
            && i64::from(meta.uid) == entry.uid
            && i64::from(meta.gid) == entry.gid
            && self.lower.xattrs(&found)? == sorted(&entry.xattrs))
    }

    fn put(
        &self,
        path: &[u8],
        entry: &TarEntry,
        tar: &mut LayerWriter<'_>,
        data: &mut dyn Read,
    ) -> Result<()> {
        let id = |id: i64| {
            u32::try_from(id).map_err(|_| Error::new(Kind::Wall, format!("a file's owner is {id}")))
        };
        let link = match entry.kind {
            EntryKind::HardLink => clean_name(&entry.link)?,
            _ => entry.link.clone(),
        };
        let xattrs = sorted(&entry.xattrs);
        let new = NewEntry {
            path: if path.is_empty() { b"." } else { path },
            kind: entry.kind,
            link: &link,
            mode: entry.mode & 0o7777,
            uid: id(entry.uid)?,
            gid: id(entry.gid)?,
            mtime: (clamp(entry.mtime.0, self.epoch), 0),
            device: entry.device,
            xattrs: &xattrs,
        };
        let written = match entry.kind {
            EntryKind::File if entry.sparse.is_some() => {
                return Err(Error::new(
                    Kind::Wall,
                    "the changes came with a sparse file",
                ));
            }
            EntryKind::File => tar.file(&new, entry.size, data),
            _ => tar.entry(&new),
        };
        written.map_err(|error| {
            Error::io(
                format!("write the layer's {}", String::from_utf8_lossy(path)),
                error,
            )
        })
    }
}

fn sorted(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut sorted = xattrs.to_vec();
    sorted.sort();
    sorted
}

/// The name without `./` and slashes at its ends. It comes from a guest: `..` is refused.
fn clean_name(path: &[u8]) -> Result<Vec<u8>> {
    let parts: Vec<&[u8]> = path
        .split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        let message = format!("the changes name {:?}", String::from_utf8_lossy(path));
        return Err(Error::new(Kind::Wall, message));
    }
    Ok(parts.join(&b'/'))
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with(b"/"))
}

/// The data of a reader's current entry.
pub(crate) struct Data<'a, R>(pub(crate) &'a mut TarReader<R>);

impl<R: BufRead> Read for Data<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let piece = self.0.data().map_err(std::io::Error::other)?;
        let count = piece.len().min(out.len());
        out[..count].copy_from_slice(&piece[..count]);
        self.0.consume(count);
        Ok(count)
    }
}

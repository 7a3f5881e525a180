//! Archives that ADD unpacks: from one tar stream into another, nothing on the host.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Cursor, Read};

use isola_images::making::LayerWriter;
use isola_images::{EntryKind, NewEntry, TarEntry, TarReader, head, is_packed, is_tar, unpacked};

use crate::changes::Data;
use crate::copy::{Plan, check_name, clamp, clean, join};
use crate::error::{Error, Kind, Result};
use crate::key::Key;
use crate::tree::{Node, Tree, shown};

/// Largest file with holes that an archive may have, in bytes.
const LARGEST_SPARSE: u64 = 64 << 30;

/// Where an archive is.
pub(crate) enum Origin<'a> {
    Node(&'a Tree, Node),
    Bytes(&'a [u8]),
}

impl Origin<'_> {
    fn open(&self) -> Result<Box<dyn Read + '_>> {
        match self {
            Origin::Node(tree, node) => tree.read(node),
            Origin::Bytes(bytes) => Ok(Box::new(*bytes)),
        }
    }

    fn name(&self) -> String {
        match self {
            Origin::Node(_, node) => shown(&node.path),
            Origin::Bytes(_) => "the downloaded archive".into(),
        }
    }

    pub(crate) fn hash(&self, key: &mut Key) -> Result<()> {
        key.add(b"unpack");
        key.content(self.open()?, &self.name())
    }
}

/// Whether a file is a tar archive, compressed or not, as its content tells.
pub(crate) fn is_archive(tree: &Tree, node: &Node) -> Result<bool> {
    let read = |error: io::Error| Error::io(format!("read {}", shown(&node.path)), error);
    let mut file = tree.read(node)?;
    let start = head(&mut file).map_err(read)?;
    if is_tar(&start) || !is_packed(&start) {
        return Ok(is_tar(&start));
    }
    // What can't be taken apart is a file like others.
    let inside = unpacked(Cursor::new(start).chain(file)).and_then(|mut inside| head(&mut inside));
    Ok(inside.is_ok_and(|head| is_tar(&head)))
}

/// Unpacks an archive into the folder `to` of the layer.
pub(crate) fn unpack(
    origin: &Origin<'_>,
    plan: &Plan<'_>,
    to: &[u8],
    epoch: Option<i64>,
    tar: &mut LayerWriter<'_>,
) -> Result<()> {
    let name = origin.name();
    let stream =
        unpacked(origin.open()?).map_err(|error| Error::io(format!("unpack {name}"), error))?;
    let mut reader = TarReader::new(BufReader::with_capacity(256 << 10, stream), name.clone());
    let mut written: BTreeSet<Vec<u8>> = BTreeSet::new();
    while let Some(entry) = reader.next_entry()? {
        let path = inside(&entry.path, &name)?;
        check_name(&path)?;
        if path.is_empty() {
            // The root of the archive is the folder that it goes to.
            continue;
        }
        let real = place(plan, &written, to, &path)?;
        written.insert(real.clone());
        let link = match entry.kind {
            EntryKind::HardLink => place(plan, &written, to, &inside(&entry.link, &name)?)?,
            _ => entry.link.clone(),
        };
        // Owners and modes are the archive's, whatever --chown and --chmod say: as
        // everywhere, these are for what is copied.
        let (uid, gid) = (number(entry.uid)?, number(entry.gid)?);
        let mut xattrs = entry.xattrs.clone();
        xattrs.sort();
        let new = NewEntry {
            path: &real,
            kind: entry.kind,
            link: &link,
            mode: entry.mode & 0o7777,
            uid,
            gid,
            mtime: (clamp(entry.mtime.0, epoch), 0),
            device: entry.device,
            xattrs: &xattrs,
        };
        let failed = |error| Error::io(format!("unpack {} of {name}", shown(&path)), error);
        match (entry.kind, &entry.sparse) {
            (EntryKind::File, None) => tar
                .file(&new, entry.size, &mut Data(&mut reader))
                .map_err(failed)?,
            (EntryKind::File, Some(_)) => {
                let mut dense = Dense::new(&entry, Data(&mut reader))?;
                tar.file(&new, entry.size, &mut dense).map_err(failed)?;
            }
            _ => tar.entry(&new).map_err(failed)?,
        }
    }
    Ok(())
}

fn number(id: i64) -> Result<u32> {
    u32::try_from(id).map_err(|_| Error::new(Kind::Invalid, format!("an archive's owner is {id}")))
}

/// The name of an entry. What leads out of the archive is refused.
fn inside(path: &[u8], archive: &str) -> Result<Vec<u8>> {
    let parts = clean(path);
    if path.split(|&b| b == b'/').any(|part| part == b"..") {
        let message = format!(
            "{archive} holds the name {:?}",
            String::from_utf8_lossy(path)
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(parts.join(&b'/'))
}

/// Where an entry goes: through the image's links, unless the archive has brought the
/// folder itself.
fn place(plan: &Plan<'_>, written: &BTreeSet<Vec<u8>>, to: &[u8], path: &[u8]) -> Result<Vec<u8>> {
    let whole = join(to, path);
    let Some(at) = whole.iter().rposition(|&b| b == b'/') else {
        return Ok(whole);
    };
    let (folder, name) = (&whole[..at], &whole[at + 1..]);
    if written.contains(folder) {
        return Ok(whole);
    }
    Ok(join(&plan.resolve(folder)?, name))
}

/// A file with holes, its holes filled with zeros.
struct Dense<R> {
    data: R,
    segments: Vec<(u64, u64)>,
    at: u64,
    size: u64,
}

impl<R: Read> Dense<R> {
    fn new(entry: &TarEntry, data: R) -> Result<Dense<R>> {
        if entry.size > LARGEST_SPARSE {
            let message = format!(
                "{} has {} bytes, most of them holes",
                shown(&entry.path),
                entry.size
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        let segments = entry.sparse.iter().flatten();
        Ok(Dense {
            data,
            segments: segments
                .map(|segment| (segment.offset, segment.len))
                .collect(),
            at: 0,
            size: entry.size,
        })
    }
}

impl<R: Read> Read for Dense<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
        let mut count = out.len().min(left);
        let next = self
            .segments
            .iter()
            .find(|(start, len)| start + len > self.at);
        match next {
            Some((start, len)) if *start <= self.at => {
                let room = usize::try_from(start + len - self.at).unwrap_or(usize::MAX);
                count = self.data.read(&mut out[..count.min(room)])?;
            }
            next => {
                let hole = next.map_or(self.size, |(start, _)| *start) - self.at;
                count = count.min(usize::try_from(hole).unwrap_or(usize::MAX));
                out[..count].fill(0);
            }
        }
        self.at += count as u64;
        Ok(count)
    }
}

//! The files that layers show together, read without mounting anything: what a
//! build copies from another stage, looks users up in, and compares.

mod layer;
mod walk;

use std::io::Read;

use crate::error::{Error, Result};
use crate::image::Layer;

use layer::{Look, Place, Source};
pub use walk::Change;

/// Symbolic links followed on one way (as the kernel's MAXSYMLINKS).
const MAX_LINKS: usize = 40;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// Metadata of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// What it is.
    pub kind: FileKind,
    /// Permissions with set-user-id, set-group-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes of a regular file.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

/// A file that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path without links, from the root, which is empty.
    pub path: Vec<u8>,
    /// What it is.
    pub meta: FileMeta,
    /// Where it is; a folder may be in several layers, the uppermost first.
    places: Vec<(usize, Place)>,
}

/// The files of a stack of layers.
#[derive(Debug)]
pub struct Files {
    /// The uppermost first.
    layers: Vec<Source>,
}

impl Files {
    /// Opens the layers, the lowest first. Without any, there is an empty root.
    ///
    /// # Errors
    /// A layer that can't be read.
    pub fn open(layers: &[Layer]) -> Result<Files> {
        let layers = layers.iter().rev().map(Source::open);
        Ok(Files {
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// The root.
    ///
    /// # Errors
    /// A layer that can't be read.
    pub fn root(&self) -> Result<Found> {
        let mut places = Vec::new();
        let mut meta = None;
        for (index, layer) in self.layers.iter().enumerate() {
            let place = layer.root();
            if meta.is_none() {
                meta = Some(layer.meta(&place)?);
            }
            let opaque = layer.is_opaque(&place)?;
            places.push((index, place));
            if opaque {
                break;
            }
        }
        Ok(Found {
            path: Vec::new(),
            meta: meta.unwrap_or(FileMeta {
                kind: FileKind::Dir,
                mode: 0o755,
                uid: 0,
                gid: 0,
                mtime: (0, 0),
                size: 0,
                device: (0, 0),
            }),
            places,
        })
    }

    /// A name in a folder, which is not followed if it is a link.
    ///
    /// # Errors
    /// A layer that can't be read.
    pub fn child(&self, folder: &Found, name: &[u8]) -> Result<Option<Found>> {
        let mut found: Option<Found> = None;
        for (index, place) in &folder.places {
            let layer = &self.layers[*index];
            match layer.child(place, name)? {
                Look::Absent => {}
                Look::Hidden => break,
                Look::At(child) => {
                    let meta = layer.meta(&child)?;
                    let is_dir = meta.kind == FileKind::Dir;
                    let opaque = is_dir && layer.is_opaque(&child)?;
                    match &mut found {
                        None => {
                            found = Some(Found {
                                path: join(&folder.path, name),
                                meta,
                                places: vec![(*index, child)],
                            });
                        }
                        Some(found) if is_dir => found.places.push((*index, child)),
                        Some(_) => break,
                    }
                    if !is_dir || opaque {
                        break;
                    }
                }
            }
        }
        Ok(found)
    }

    /// All that is in a folder, in the order of names.
    ///
    /// # Errors
    /// A layer that can't be read.
    pub fn list(&self, folder: &Found) -> Result<Vec<Found>> {
        let mut names = std::collections::BTreeSet::new();
        for (index, place) in &folder.places {
            names.extend(self.layers[*index].names(place)?);
        }
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.extend(self.child(folder, &name)?);
        }
        Ok(found)
    }

    /// The file at `path`; links on the way are followed inside of the root, the
    /// last one only with `follow`.
    ///
    /// # Errors
    /// A layer that can't be read, or links that lead round in a circle.
    pub fn lookup(&self, path: &[u8], follow: bool) -> Result<Option<Found>> {
        let mut todo: Vec<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        todo.reverse();
        let mut way = vec![self.root()?];
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let Some(at) = way.last().filter(|at| at.meta.kind == FileKind::Dir) else {
                return Ok(None);
            };
            let Some(child) = self.child(at, &name)? else {
                return Ok(None);
            };
            if child.meta.kind != FileKind::Symlink || (todo.is_empty() && !follow) {
                way.push(child);
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                let source =
                    std::io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error());
                let path = std::path::PathBuf::from(String::from_utf8_lossy(path).into_owned());
                return Err(Error::io("follow the links of", path, source));
            }
            let target = self.target(&child)?;
            if target.starts_with(b"/") {
                way.truncate(1);
            }
            let parts: Vec<_> = components(&target).map(<[u8]>::to_vec).collect();
            todo.extend(parts.into_iter().rev());
        }
        Ok(way.pop())
    }

    /// What a symbolic link points to.
    ///
    /// # Errors
    /// A layer that can't be read.
    pub fn target(&self, found: &Found) -> Result<Vec<u8>> {
        let (layer, place) = self.uppermost(found)?;
        layer.target(place)
    }

    /// Extended attributes but those of overlayfs, sorted.
    ///
    /// # Errors
    /// A layer that can't be read.
    pub fn xattrs(&self, found: &Found) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match found.places.first() {
            Some(_) => {
                let (layer, place) = self.uppermost(found)?;
                layer.xattrs(place)
            }
            None => Ok(Vec::new()),
        }
    }

    /// The content of a regular file.
    ///
    /// # Errors
    /// A layer that can't be read.
    pub fn read<'a>(&'a self, found: &'a Found) -> Result<Box<dyn Read + 'a>> {
        let (layer, place) = self.uppermost(found)?;
        layer.read(place)
    }

    /// A small file's content, as `/etc/passwd`; nothing if it is not there, is no
    /// file or is larger than `limit` bytes.
    ///
    /// # Errors
    /// A layer that can't be read.
    pub fn small(&self, path: &[u8], limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(found) = self.lookup(path, true)? else {
            return Ok(None);
        };
        if found.meta.kind != FileKind::File || found.meta.size > limit {
            return Ok(None);
        }
        let mut content = Vec::new();
        self.read(&found)?
            .read_to_end(&mut content)
            .map_err(|source| Error::Read {
                what: String::from_utf8_lossy(path).into_owned(),
                source,
            })?;
        Ok(Some(content))
    }

    /// Numbers that say which file it is: names of one file have the same. Nothing
    /// for folders.
    pub fn identity(&self, found: &Found) -> Option<(usize, u64)> {
        let (index, place) = found.places.first()?;
        Some((*index, self.layers[*index].number(place)?))
    }

    fn uppermost<'a>(&'a self, found: &'a Found) -> Result<(&'a Source, &'a Place)> {
        found
            .places
            .first()
            .and_then(|(index, place)| Some((self.layers.get(*index)?, place)))
            .ok_or_else(|| Error::document("a layer", "the file is in none"))
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        return name.to_vec();
    }
    [folder, b"/", name].concat()
}

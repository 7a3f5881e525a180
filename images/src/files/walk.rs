//! How two stacks of layers differ.

use std::io::Read;

use super::{FileKind, Files, Found};
use crate::error::{Error, Result};

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It is only in the second.
    Added,
    /// It is in both and not the same.
    Changed,
    /// It is only in the first.
    Deleted,
}

impl Files {
    /// All paths that differ from those of `before`, in the order of names, each
    /// after the folder it is in. Times count for what is no folder.
    ///
    /// # Errors
    /// A layer that can't be read.
    pub fn changes_since(&self, before: &Files) -> Result<Vec<(Change, Vec<u8>)>> {
        let mut changes = Vec::new();
        compare(
            (before, &before.root()?),
            (self, &self.root()?),
            &mut changes,
        )?;
        changes.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(changes)
    }
}

type Side<'a> = (&'a Files, &'a Found);

fn compare(old: Side<'_>, new: Side<'_>, out: &mut Vec<(Change, Vec<u8>)>) -> Result<()> {
    let (was, is) = (old.0.list(old.1)?, new.0.list(new.1)?);
    let name = |found: &Found, folder: &Found| {
        let skip = if folder.path.is_empty() {
            0
        } else {
            folder.path.len() + 1
        };
        found.path[skip..].to_vec()
    };
    let was: std::collections::BTreeMap<_, _> = was
        .into_iter()
        .map(|found| (name(&found, old.1), found))
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for now in is {
        let name = name(&now, new.1);
        let Some(then) = was.get(&name) else {
            added(new.0, &now, out)?;
            continue;
        };
        seen.insert(name);
        let at = out.len();
        let both = then.meta.kind == FileKind::Dir && now.meta.kind == FileKind::Dir;
        if both {
            compare((old.0, then), (new.0, &now), out)?;
        } else if now.meta.kind == FileKind::Dir {
            for child in new.0.list(&now)? {
                added(new.0, &child, out)?;
            }
        }
        if out.len() > at || !same((old.0, then), (new.0, &now))? {
            out.push((Change::Changed, now.path.clone()));
        }
    }
    let gone = was.iter().filter(|(name, _)| !seen.contains(*name));
    out.extend(gone.map(|(_, found)| (Change::Deleted, found.path.clone())));
    Ok(())
}

fn added(files: &Files, found: &Found, out: &mut Vec<(Change, Vec<u8>)>) -> Result<()> {
    out.push((Change::Added, found.path.clone()));
    if found.meta.kind == FileKind::Dir {
        for child in files.list(found)? {
            added(files, &child, out)?;
        }
    }
    Ok(())
}

fn same(old: Side<'_>, new: Side<'_>) -> Result<bool> {
    let (mut was, mut is) = (old.1.meta.clone(), new.1.meta.clone());
    if was.kind == FileKind::Dir {
        (was.mtime, is.mtime) = ((0, 0), (0, 0));
    }
    if was.kind == FileKind::Symlink {
        (was.mode, is.mode) = (0, 0);
    }
    if was != is || old.0.xattrs(old.1)? != new.0.xattrs(new.1)? {
        return Ok(false);
    }
    match was.kind {
        FileKind::Symlink => Ok(old.0.target(old.1)? == new.0.target(new.1)?),
        FileKind::File => same_content(&mut *old.0.read(old.1)?, &mut *new.0.read(new.1)?),
        _ => Ok(true),
    }
}

fn same_content(a: &mut dyn Read, b: &mut dyn Read) -> Result<bool> {
    let failed = |source| Error::Read {
        what: "a file of a layer".into(),
        source,
    };
    let (mut x, mut y) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let n = crate::layer::compress::read_full(&mut &mut *a, &mut x).map_err(failed)?;
        let m = crate::layer::compress::read_full(&mut &mut *b, &mut y).map_err(failed)?;
        if n != m || x[..n] != y[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

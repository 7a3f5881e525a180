//! Paths and metadata of what is copied.

use isola_images::EntryKind;
use isola_images::files::FileKind;

use crate::error::{Error, Kind, Result};
use crate::glob::Pattern;
use crate::tree::{Node, Tree, shown};

/// The prefix of names that mean removal in a layer.
pub(crate) const WHITEOUT: &[u8] = b".wh.";

/// No time is later than the epoch, if one is set.
pub(crate) fn clamp(seconds: i64, epoch: Option<i64>) -> i64 {
    epoch.map_or(seconds, |epoch| seconds.min(epoch))
}

pub(crate) fn kind(kind: FileKind) -> EntryKind {
    match kind {
        FileKind::File => EntryKind::File,
        FileKind::Dir => EntryKind::Dir,
        FileKind::Symlink => EntryKind::Symlink,
        FileKind::Char => EntryKind::Char,
        FileKind::Block => EntryKind::Block,
        FileKind::Fifo => EntryKind::Fifo,
    }
}

/// A name that means removal in a layer can't be that of a file.
pub(crate) fn check_name(path: &[u8]) -> Result<()> {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    if name.starts_with(WHITEOUT) {
        let message = format!(
            "{} can't be in an image: names that begin with .wh. mean removal there",
            shown(path)
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(())
}

/// The parts of a path; `..` goes up, but never out.
pub(crate) fn clean(path: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part.to_vec()),
        }
    }
    parts
}

pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder.is_empty() {
        true => name.to_vec(),
        false => [folder, b"/", name].concat(),
    }
}

/// The files that a source names: one, or those that fit a pattern.
pub(crate) fn find(tree: &Tree, source: &str) -> Result<Vec<Node>> {
    let mut depth = 0i64;
    for part in source.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            let message = format!("{source:?} is outside of what is copied from");
            return Err(Error::new(Kind::Invalid, message).hint(
                "files must be below the build's context; --build-context names further ones",
            ));
        }
    }
    let parts = clean(source.as_bytes());
    let wild = |part: &[u8]| part.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'));
    if !parts.iter().any(|part| wild(part)) {
        let path = parts.join(&b'/');
        return Ok(tree.lookup(&path, true)?.into_iter().collect());
    }
    let mut found: Vec<Node> = tree.lookup(b"", true)?.into_iter().collect();
    for part in &parts {
        let mut next = Vec::new();
        let text = String::from_utf8_lossy(part);
        let pattern = Pattern::of_path(&text).map_err(|why| {
            Error::new(
                Kind::Invalid,
                format!("the pattern {source:?} is wrong: {why}"),
            )
        })?;
        for node in found {
            if !wild(part) {
                next.extend(tree.lookup(&join(&node.path, part), true)?);
            } else if node.meta.kind == FileKind::Dir {
                let fits = |child: &Node| pattern.matches(&String::from_utf8_lossy(child.name()));
                next.extend(tree.list(&node)?.into_iter().filter(fits));
            }
        }
        found = next;
    }
    // What a pattern finds is followed, as a plain name is.
    let followed = found.into_iter().map(|node| match node.meta.kind {
        FileKind::Symlink => tree.lookup(&node.path, true),
        _ => Ok(Some(node)),
    });
    Ok(followed
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

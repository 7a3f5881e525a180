//! A commit's files as a tar stream.

use std::io::{Read, Write};

use isola_images::{EntryKind, NewEntry, TarWriter};

use super::Fetched;
use super::submodules::{Module, modules};
use crate::error::{Code, Failure, Result};

/// Bytes of what a link leads to.
const LONGEST_LINK: u64 = 4096;

/// A line of `ls-tree`.
struct Listed {
    mode: String,
    id: String,
    path: Vec<u8>,
}

/// Writes a commit's files below `at`, or those of one of its folders. Gives the
/// submodules, whose files are elsewhere.
pub(super) fn pack<W: Write>(
    fetched: &Fetched<'_>,
    folder: Option<&str>,
    at: &[u8],
    tar: &mut TarWriter<W>,
) -> Result<Vec<Module>> {
    let mut objects = fetched.git.objects()?;
    let mut links = Vec::new();
    if at.is_empty() {
        let mut root = NewEntry::plain(b".", EntryKind::Dir, 0o755);
        root.mtime = (fetched.time, 0);
        let written = tar.entry(&root);
        written.map_err(|error| Failure::system("pass the repository's files on", error))?;
    }
    for listed in list(fetched, folder)? {
        let path = match at.is_empty() {
            true => listed.path.clone(),
            false => [at, b"/", &listed.path].concat(),
        };
        let failed = |error: std::io::Error| {
            let path = String::from_utf8_lossy(&path);
            Failure::system(format!("read {path} of the repository"), error)
        };
        let new = |kind, mode| NewEntry {
            mtime: (fetched.time, 0),
            ..NewEntry::plain(&path, kind, mode)
        };
        match listed.mode.as_str() {
            "040000" => tar.entry(&new(EntryKind::Dir, 0o755)).map_err(failed)?,
            "120000" => {
                let size = objects.open(&listed.id).map_err(failed)?;
                let mut link = Vec::new();
                let bytes = size.min(LONGEST_LINK);
                let content = objects.content().take(bytes).read_to_end(&mut link);
                content.map_err(failed)?;
                if size > LONGEST_LINK {
                    return Err(failed(std::io::Error::other("the link is too long")));
                }
                objects.close().map_err(failed)?;
                let mut entry = new(EntryKind::Symlink, 0o777);
                entry.link = &link;
                tar.entry(&entry).map_err(failed)?;
            }
            "160000" => {
                tar.entry(&new(EntryKind::Dir, 0o755)).map_err(failed)?;
                links.push((listed.path, listed.id));
            }
            mode => {
                let mode = if mode == "100755" { 0o755 } else { 0o644 };
                let size = objects.open(&listed.id).map_err(failed)?;
                let entry = new(EntryKind::File, mode);
                tar.file(&entry, size, objects.content()).map_err(failed)?;
                objects.close().map_err(failed)?;
            }
        }
    }
    modules(fetched, folder, at, links)
}

fn list(fetched: &Fetched<'_>, folder: Option<&str>) -> Result<Vec<Listed>> {
    let remote = super::shown(&fetched.address.remote);
    let root = match folder {
        Some(folder) => format!("{}:{folder}", fetched.commit),
        None => fetched.commit.clone(),
    };
    let words = [
        "ls-tree",
        "-r",
        "-t",
        "-z",
        "--full-tree",
        "--end-of-options",
    ];
    let listing = fetched.git.try_run(&[&words[..], &[&root]].concat())?;
    let listing = listing.map_err(|_| {
        let message = format!("{remote} has no folder {}", folder.unwrap_or("/"));
        Failure::new(Code::Invalid, message)
    })?;
    let lines = listing.split(|&b| b == 0).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            parse(line).ok_or_else(|| {
                let line = String::from_utf8_lossy(line);
                let message = format!("{remote} holds what can't be a file: {line:?}");
                Failure::new(Code::Invalid, message)
            })
        })
        .collect()
}

/// `MODE TYPE ID<tab>PATH`. Names that lead out, or into what git keeps for itself, are
/// no names.
fn parse(line: &[u8]) -> Option<Listed> {
    let tab = line.iter().position(|&b| b == b'\t')?;
    let head = std::str::from_utf8(&line[..tab]).ok()?;
    let path = &line[tab + 1..];
    let sound = |part: &[u8]| {
        let own = part.eq_ignore_ascii_case(b".git");
        !part.is_empty() && part != b"." && part != b".." && !own
    };
    if !path.split(|&b| b == b'/').all(sound) {
        return None;
    }
    let mut words = head.split(' ');
    let (mode, _, id) = (words.next()?, words.next()?, words.next()?);
    Some(Listed {
        mode: mode.to_owned(),
        id: id.to_owned(),
        path: path.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_that_lead_out_are_none() {
        for (path, sound) in [
            ("a/b", true),
            (".gitignore", true),
            ("a/../b", false),
            ("..", false),
            (".GIT/hooks/x", false),
            ("a//b", false),
            ("/a", false),
        ] {
            let line = format!("100644 blob 0123\t{path}");
            assert_eq!(super::parse(line.as_bytes()).is_some(), sound, "{path}");
        }
    }
}

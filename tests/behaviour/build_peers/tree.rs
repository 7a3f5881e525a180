//! File trees, as archives tell of them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

/// What is at a path. Times are left out: builds happen at different ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    kind: String,
    mode: u32,
    owner: (u64, u64),
    size: u64,
    /// Of the content.
    digest: String,
    /// Where a symbolic link leads.
    link: String,
    xattrs: BTreeMap<String, Vec<u8>>,
}

pub(super) type Tree = BTreeMap<String, File>;

/// Reads an archive of a file tree. A further name of a file is the same file, whichever
/// of its names comes first.
pub(super) fn read(archive: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = plain(&entry.path_bytes());
        let header = entry.header().clone();
        let kind = header.entry_type();
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        if kind == tar::EntryType::Link {
            let first = tree[&plain(&link)].clone();
            tree.insert(path, first);
            continue;
        }
        let mut xattrs = BTreeMap::new();
        for item in entry.pax_extensions().unwrap().into_iter().flatten() {
            let item = item.unwrap();
            let name = item.key().unwrap().strip_prefix("SCHILY.xattr.");
            xattrs.extend(name.map(|name| (name.to_owned(), item.value_bytes().to_vec())));
        }
        let mut file = File {
            kind: format!("{kind:?}"),
            // A link's mode means nothing.
            mode: if kind.is_symlink() {
                0
            } else {
                header.mode().unwrap() & 0o7777
            },
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            link: String::from_utf8_lossy(&link).into_owned(),
            xattrs,
            ..File::default()
        };
        if kind.is_file() {
            let mut hash = Sha256::new();
            let mut buffer = vec![0; 64 << 10];
            loop {
                let count = entry.read(&mut buffer).unwrap();
                if count == 0 {
                    break;
                }
                file.size += count as u64;
                hash.update(&buffer[..count]);
            }
            file.digest = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        }
        tree.insert(path, file);
    }
    tree.remove("");
    tree
}

fn plain(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.trim_start_matches("./").trim_matches('/').to_owned()
}

/// What differs between two trees: a path, and what is there in each.
pub(super) fn differences(ours: &Tree, theirs: &Tree) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let paths: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        let (own, other) = (ours.get(path), theirs.get(path));
        if own != other {
            let shown = |file: Option<&File>| file.map_or("nothing".into(), |f| format!("{f:?}"));
            let text = format!("/{path}: ours {}, theirs {}", shown(own), shown(other));
            found.push((format!("/{path}"), text));
        }
    }
    found
}

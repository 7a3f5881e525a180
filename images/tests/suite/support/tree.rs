//! Mounting of layers, and file trees as values that can be compared.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use isola_images::{Digest, Image, LayerForm};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// All that can be told of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    device: u64,
    mtime: (i64, i64),
    nlink: u64,
    /// The first name of the same file.
    first_name: PathBuf,
    xattrs: BTreeMap<String, Vec<u8>>,
    content: String,
}

pub(crate) type Tree = BTreeMap<PathBuf, File>;

/// Walks a folder.
pub(crate) fn walk(root: &Path) -> Tree {
    walk_but(root, None)
}

/// Walks a folder and leaves one file out.
pub(crate) fn walk_but(root: &Path, without: Option<&str>) -> Tree {
    let mut tree = Tree::new();
    let mut first_names = HashMap::new();
    let mut todo = vec![root.to_owned()];
    let mut paths = Vec::new();
    while let Some(path) = todo.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        paths.push(path);
    }
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(root).unwrap().to_owned();
        if without.is_some_and(|without| name == Path::new(without)) {
            continue;
        }
        let file = look(&path, &name, &mut first_names);
        tree.insert(name, file);
    }
    tree
}

fn look(path: &Path, name: &Path, first_names: &mut HashMap<(u64, u64), PathBuf>) -> File {
    let meta = fs::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let content = if kind.is_file() {
        Digest::of(&fs::read(path).unwrap()).to_string()
    } else if kind.is_symlink() {
        fs::read_link(path).unwrap().display().to_string()
    } else {
        String::new()
    };
    let xattrs = xattr::list(path).unwrap().map(|key| {
        let value = xattr::get(path, &key).unwrap().unwrap();
        (key.into_string().unwrap(), value)
    });
    File {
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        size: if kind.is_dir() { 0 } else { meta.size() },
        device: meta.rdev(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        nlink: if kind.is_dir() { 0 } else { meta.nlink() },
        first_name: first_names
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| name.to_owned())
            .clone(),
        xattrs: xattrs.collect(),
        content,
    }
}

/// Fails with the first differences of two trees, if any. Times of `implied`
/// folders, which are in no archive, are not looked at.
pub(crate) fn assert_same(ours: &mut Tree, theirs: &mut Tree, implied: &[&str]) {
    for tree in [&mut *ours, &mut *theirs] {
        for path in implied {
            tree.get_mut(Path::new(path))
                .unwrap_or_else(|| panic!("{path} is missing"))
                .mtime = (0, 0);
        }
    }
    let names: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name));
    let differ: Vec<_> = differ
        .map(|name| {
            format!(
                "{}\n  {:?}\n  {:?}",
                name.display(),
                ours.get(name),
                theirs.get(name)
            )
        })
        .collect();
    assert!(
        differ.is_empty(),
        "{} files differ:\n{}",
        differ.len(),
        differ[..differ.len().min(9)].join("\n")
    );
}

/// An image mounted in a mount namespace of this thread.
pub(crate) struct Mounted {
    mounts: Vec<PathBuf>,
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Mounted {
    pub(crate) fn new(image: &Image) -> Self {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).expect("this test mounts and needs root");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut mounts = Vec::new();
        let mut lower = Vec::new();
        for (number, layer) in image.layers.iter().enumerate() {
            let path = match &layer.form {
                LayerForm::Directory(path) => path.clone(),
                LayerForm::Erofs(file) => {
                    let path = dir.path().join(number.to_string());
                    fs::create_dir(&path).unwrap();
                    mount(Some(file), &path, Some("erofs"), MsFlags::MS_RDONLY, none).unwrap();
                    mounts.push(path.clone());
                    path
                }
            };
            lower.insert(0, path.display().to_string());
        }
        // An overlay needs two layers.
        let empty = dir.path().join("empty");
        let root = dir.path().join("root");
        fs::create_dir(&empty).unwrap();
        fs::create_dir(&root).unwrap();
        lower.push(empty.display().to_string());
        let options = format!("lowerdir={}", lower.join(":"));
        mount(
            Some("overlay"),
            &root,
            Some("overlay"),
            MsFlags::MS_RDONLY,
            Some(options.as_str()),
        )
        .unwrap();
        mounts.push(root.clone());
        Self {
            mounts,
            _dir: dir,
            root,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn walk(&self) -> Tree {
        walk(&self.root)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for path in self.mounts.iter().rev() {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

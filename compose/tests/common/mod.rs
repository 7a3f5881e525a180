//! Files that are only in memory.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use isola_compose::{Files, Invalid, Model, Request};

/// Paths and contents.
#[derive(Debug, Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<PathBuf, Vec<u8>>);

impl<const N: usize> From<[(&str, &str); N]> for Memory {
    fn from(files: [(&str, &str); N]) -> Memory {
        Memory(
            files
                .into_iter()
                .map(|(path, text)| (path.into(), text.into()))
                .collect(),
        )
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.0.get(path).cloned();
        found.ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn is_file(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }
}

/// A folder of `tests/stacks`, as `/srv/NAME`.
pub(crate) fn folder(name: &str) -> Memory {
    fn take(from: &Path, to: &Path, files: &mut Memory) {
        for entry in std::fs::read_dir(from).expect("the test's own folder") {
            let entry = entry.expect("the test's own folder");
            let to = to.join(entry.file_name());
            if entry.file_type().expect("the test's own folder").is_dir() {
                take(&entry.path(), &to, files);
            } else {
                files.0.insert(
                    to,
                    std::fs::read(entry.path()).expect("the test's own folder"),
                );
            }
        }
    }
    let mut files = Memory::default();
    let stacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stacks");
    take(
        &stacks.join(name),
        &Path::new("/srv").join(name),
        &mut files,
    );
    files
}

/// A request with little environment.
pub(crate) fn request(folder: &str) -> Request {
    let environment = [("HOME", "/home/ada"), ("API_KEY", "k")];
    let environment = environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Request::new(folder.into(), environment.collect())
}

/// Reads files of `/p`.
pub(crate) fn load(
    files: &[(&str, &str)],
    change: impl FnOnce(&mut Request),
) -> Result<Model, Box<Invalid>> {
    let files = files
        .iter()
        .map(|(path, text)| (Path::new("/p").join(path), text.as_bytes().to_vec()));
    let mut request = request("/p");
    change(&mut request);
    isola_compose::load(&request, &Memory(files.collect())).map_err(Box::new)
}

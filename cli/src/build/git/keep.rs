//! `.git` of what was fetched (`--keep-git-dir`): enough for git to tell about the commit.

use std::fs;
use std::io::Write;
use std::path::Path;

use isola_images::{EntryKind, NewEntry, TarWriter};

use super::Fetched;
use crate::error::{Code, Failure, Result};

/// What is taken over. Settings are written anew, and hooks are none.
const KEPT: [&str; 5] = ["index", "objects", "packed-refs", "refs", "shallow"];

/// Writes the folder `.git`.
pub(super) fn pack<W: Write>(fetched: &Fetched<'_>, tar: &mut TarWriter<W>) -> Result<()> {
    // The index, so that nothing seems to have been changed.
    let listed = fetched.git.try_run(&["read-tree", &fetched.commit])?;
    listed.map_err(|why| {
        Failure::new(
            Code::System,
            format!("git can't list the commit's files: {why}"),
        )
    })?;
    let mut keep = Keep {
        tar,
        time: fetched.time,
    };
    keep.folder(".git")?;
    keep.file(".git/HEAD", format!("{}\n", fetched.commit).as_bytes())?;
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
         [remote \"origin\"]\n\turl = {}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
        super::shown(&fetched.address.remote)
    );
    keep.file(".git/config", config.as_bytes())?;
    for name in KEPT {
        keep.all(&fetched.git.folder.join(name), &format!(".git/{name}"))?;
    }
    Ok(())
}

struct Keep<'a, W: Write> {
    tar: &'a mut TarWriter<W>,
    time: i64,
}

impl<W: Write> Keep<'_, W> {
    fn all(&mut self, from: &Path, to: &str) -> Result<()> {
        let failed = |error| Failure::system(format!("read {}", from.display()), error);
        let Ok(meta) = fs::symlink_metadata(from) else {
            return Ok(());
        };
        if !meta.is_dir() {
            let content = fs::read(from).map_err(failed)?;
            return self.file(to, &content);
        }
        self.folder(to)?;
        let entries = fs::read_dir(from).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut names: Vec<_> = entries
            .map_err(failed)?
            .iter()
            .map(fs::DirEntry::file_name)
            .collect();
        names.sort();
        for name in names {
            let to = format!("{to}/{}", name.to_string_lossy());
            self.all(&from.join(&name), &to)?;
        }
        Ok(())
    }

    fn folder(&mut self, path: &str) -> Result<()> {
        let entry = self.entry(path, EntryKind::Dir, 0o755);
        self.tar.entry(&entry).map_err(written)
    }

    fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let entry = self.entry(path, EntryKind::File, 0o644);
        let size = content.len() as u64;
        self.tar
            .file(&entry, size, &mut &content[..])
            .map_err(written)
    }

    fn entry<'p>(&self, path: &'p str, kind: EntryKind, mode: u32) -> NewEntry<'p> {
        NewEntry {
            mtime: (self.time, 0),
            ..NewEntry::plain(path.as_bytes(), kind, mode)
        }
    }
}

fn written(error: std::io::Error) -> Failure {
    Failure::system("pass the repository's files on", error)
}

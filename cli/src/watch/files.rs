//! Changes of files, gathered until it is quiet for a moment.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::Rules;
use crate::error::{Failure, Result};

/// So long nothing may change before something is done.
const QUIET: Duration = Duration::from_millis(150);
/// So long changes are gathered at most.
const LONGEST: Duration = Duration::from_secs(2);

/// What wakes up who waits.
enum Word {
    Changed(notify::Result<Event>),
    Stop,
}

/// Ends the waiting.
#[derive(Clone)]
pub(crate) struct Stopper(Sender<Word>);

impl Stopper {
    /// Nothing more is waited for.
    pub(crate) fn stop(&self) {
        let _ = self.0.send(Word::Stop);
    }
}

/// Folders that are watched. Each is watched by itself, so that those that no rule
/// cares for cost nothing.
pub(crate) struct Files<'a> {
    rules: &'a Rules,
    watcher: RecommendedWatcher,
    words: Receiver<Word>,
    sender: Sender<Word>,
    watched: HashSet<PathBuf>,
}

impl<'a> Files<'a> {
    /// Watches all that rules care for.
    pub(crate) fn watch(rules: &'a Rules) -> Result<Files<'a>> {
        let (sender, words) = channel();
        let own = sender.clone();
        let tell = move |event| drop(own.send(Word::Changed(event)));
        let watcher = notify::recommended_watcher(tell).map_err(|error| failed("files", error))?;
        let mut files = Files {
            rules,
            watcher,
            words,
            sender,
            watched: HashSet::new(),
        };
        for root in rules.roots() {
            match root.is_dir() {
                true => drop(files.add(root)?),
                // Whoever saves a file may put another one in its place.
                false => files.add_one(root.parent().unwrap_or(root))?,
            }
        }
        Ok(files)
    }

    /// Everything that is there.
    pub(crate) fn all(&self) -> BTreeSet<PathBuf> {
        let roots = self.rules.roots().into_iter();
        roots.flat_map(|root| self.below(root)).collect()
    }

    /// Ends [`Files::next`] from another thread.
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// Waits for changes; `None` when it was stopped.
    pub(crate) fn next(&mut self) -> Result<Option<BTreeSet<PathBuf>>> {
        let mut changed = BTreeSet::new();
        // One sender is this one's own, so it does not end by itself.
        while let Ok(Word::Changed(event)) = self.words.recv() {
            self.take(event, &mut changed)?;
            let until = Instant::now() + LONGEST;
            while Instant::now() < until {
                match self.words.recv_timeout(QUIET) {
                    Ok(Word::Changed(event)) => self.take(event, &mut changed)?,
                    Ok(Word::Stop) => return Ok(None),
                    Err(_) => break,
                }
            }
            if !changed.is_empty() {
                return Ok(Some(changed));
            }
        }
        Ok(None)
    }

    fn take(
        &mut self,
        event: notify::Result<Event>,
        changed: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        let event = event.map_err(|error| failed("files", error))?;
        if event.need_rescan() {
            // The kernel has dropped some: everything may have changed.
            changed.extend(self.all());
        }
        if matches!(event.kind, EventKind::Access(_)) {
            return Ok(());
        }
        for path in event.paths {
            if !self.rules.cares(&path) {
                continue;
            }
            let is_folder = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
            if is_folder {
                // A new one, or one that was moved here, comes with what is in it.
                changed.extend(self.add(&path)?);
            } else {
                self.watched.retain(|known| !known.starts_with(&path));
            }
            changed.insert(path);
        }
        Ok(())
    }

    /// Watches a folder with those in it, and gives what is in folders that were not
    /// watched before.
    fn add(&mut self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut waiting = vec![folder.to_owned()];
        while let Some(folder) = waiting.pop() {
            if self.watched.contains(&folder) {
                continue;
            }
            // Before it is read, so that nothing comes in between.
            self.add_one(&folder)?;
            for path in self.children(&folder) {
                if is_folder(&path) {
                    waiting.push(path.clone());
                }
                found.push(path);
            }
        }
        Ok(found)
    }

    fn add_one(&mut self, folder: &Path) -> Result<()> {
        match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => drop(self.watched.insert(folder.to_owned())),
            // It has gone again.
            Err(_) if !folder.exists() => {}
            Err(error) => return Err(failed(&folder.display().to_string(), error)),
        }
        Ok(())
    }

    /// What is in a folder and of interest.
    fn children(&self, folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| self.rules.cares(path)).collect()
    }

    fn below(&self, path: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            if is_folder(&path) {
                waiting.extend(self.children(&path));
            }
            found.push(path);
        }
        found
    }
}

fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn failed(what: &str, error: notify::Error) -> Failure {
    let failure = Failure::internal(format!("cannot watch {what}: {error}"));
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => failure
            .hint("fs.inotify.max_user_watches (sysctl) allows more; `ignore` leaves folders out"),
        _ => failure,
    }
}

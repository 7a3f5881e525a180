//! Who is in a group, and what is done to all of them at once: kill, freeze, thaw.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::hierarchy::Version;
use super::{Cgroup, Member};
use crate::error::{Error, Kind, Result};

/// How long killed processes may take to be gone, and frozen ones to stand
/// still: a process in the middle of an uninterruptible read takes its time.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Process ids, as the host counts, of all that is in the group or below it.
    ///
    /// # Errors
    /// The list can't be read.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut all = BTreeSet::new();
        // A privileged process may have left one of the groups for another, so one
        // list is not enough.
        for member in &self.members {
            for folder in below(&member.path) {
                let path = folder.join("cgroup.procs");
                match fs::read_to_string(&path) {
                    // 0 stands for a process that this pid namespace does not have.
                    Ok(text) => all.extend(
                        text.lines()
                            .filter_map(|line| line.parse::<i32>().ok())
                            .filter(|pid| *pid > 0),
                    ),
                    Err(error) if gone(&error) => {}
                    Err(error) => return Err(Error::io("read", &path, error)),
                }
            }
        }
        Ok(all.into_iter().collect())
    }

    /// Kills all processes in the group and waits until they are gone. A frozen
    /// group is killed as well.
    ///
    /// # Errors
    /// Some are still there after ten seconds.
    pub fn kill(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Pause::new();
        let mut attempt = 0;
        loop {
            let left = self.processes()?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::new(
                    Kind::System,
                    format!(
                        "{} processes of '{}' do not end after SIGKILL, the first is {}",
                        left.len(),
                        self.id,
                        left[0]
                    ),
                ));
            }
            // A process that left the unified group for another is still in those
            // of version 1.
            self.kill_once(&left, attempt > 3);
            attempt += 1;
            pause.sleep();
        }
    }

    fn kill_once(&self, listed: &[i32], one_by_one: bool) {
        if !one_by_one
            && let Some(unified) = self.unified()
            && fs::write(unified.path.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        // While they are frozen none can fork away from the list.
        let _ = self.set_frozen(true);
        let listed = self.processes().unwrap_or_else(|_| listed.to_vec());
        let own = std::process::id() as i32;
        for pid in listed
            .into_iter()
            .filter(|pid| *pid != own)
            .filter_map(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.set_frozen(false);
    }

    /// Stops all processes where they are, and waits until they stand still.
    ///
    /// # Errors
    /// The host has neither a freezer nor a unified hierarchy, or some do not
    /// stop within ten seconds; the group is thawed again then.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(true)?;
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Pause::new();
        while !self.is_frozen()? {
            if Instant::now() > deadline {
                self.set_frozen(false)?;
                return Err(Error::new(
                    Kind::System,
                    format!(
                        "the processes of '{}' can't be paused: they do not stop",
                        self.id
                    ),
                ));
            }
            pause.sleep();
            // A process that came in meanwhile leaves version 1 at FREEZING.
            self.set_frozen(true)?;
        }
        Ok(())
    }

    /// Lets frozen processes go on.
    ///
    /// # Errors
    /// As for [`Cgroup::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    /// All processes stand still.
    ///
    /// # Errors
    /// The state can't be read.
    pub fn is_frozen(&self) -> Result<bool> {
        let member = self.freezer()?;
        let (file, frozen) = match member.version {
            Version::V1 => ("freezer.state", "FROZEN"),
            Version::V2 => ("cgroup.events", "frozen 1"),
        };
        let path = member.path.join(file);
        let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
        Ok(text.lines().any(|line| line == frozen))
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let member = self.freezer()?;
        let (file, value) = match (member.version, frozen) {
            (Version::V1, true) => ("freezer.state", "FROZEN"),
            (Version::V1, false) => ("freezer.state", "THAWED"),
            (Version::V2, true) => ("cgroup.freeze", "1"),
            (Version::V2, false) => ("cgroup.freeze", "0"),
        };
        let path = member.path.join(file);
        fs::write(&path, value).map_err(|error| Error::io("write", &path, error))
    }

    fn freezer(&self) -> Result<&Member> {
        self.unified()
            .filter(|member| member.path.join("cgroup.freeze").exists())
            .or_else(|| self.members.iter().find(|member| member.has("freezer")))
            .ok_or_else(|| {
                Error::new(
                    Kind::Unsupported,
                    "this host has no cgroup that can pause processes",
                )
            })
    }

    /// Kills what is left in the groups of this instance and removes them from
    /// every hierarchy; those above them, too, that we made and nothing else is in.
    ///
    /// # Errors
    /// Processes that do not end, or a group that stays busy for ten seconds.
    pub fn destroy(&self) -> Result<()> {
        // Mostly all has ended before, and the kernel knows best whether it has: it
        // keeps a group with a process in it.
        let kept =
            |member: &&Member| fs::remove_dir(&member.path).is_err_and(|error| !gone(&error));
        let busy: Vec<&Member> = self.members.iter().filter(kept).collect();
        let mut result = Ok(());
        if !busy.is_empty() {
            self.kill()?;
            let deadline = Instant::now() + PATIENCE;
            for member in busy {
                result = result.and(remove(&member.path, deadline));
            }
        }
        for member in &self.members {
            super::place::remove_parents(&member.mount, &self.parent);
        }
        result
    }
}

/// Removes a group and all below it, deepest first.
fn remove(path: &Path, deadline: Instant) -> Result<()> {
    for folder in below(path).into_iter().rev() {
        let mut pause = Pause::new();
        loop {
            match fs::remove_dir(&folder) {
                Ok(()) => break,
                Err(error) if gone(&error) => break,
                Err(error)
                    if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
                {
                    pause.sleep()
                }
                Err(error) => return Err(Error::io("remove the cgroup", &folder, error)),
            }
        }
    }
    Ok(())
}

/// A group and all below it, parents first.
fn below(path: &Path) -> Vec<PathBuf> {
    /// Links of a folder without folders in it: its name and its `.`.
    const CHILDLESS: u64 = 2;
    let mut all = vec![path.to_owned()];
    let mut next = 0;
    while let Some(folder) = all.get(next).cloned() {
        next += 1;
        if fs::metadata(&folder).is_ok_and(|data| data.nlink() == CHILDLESS) {
            continue;
        }
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        all.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    all
}

/// The group vanished, before or while its file was read.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Waits that grow from a fifth of a millisecond to twenty.
struct Pause(Duration);

impl Pause {
    fn new() -> Pause {
        Pause(Duration::from_micros(200))
    }

    fn sleep(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(20));
    }
}

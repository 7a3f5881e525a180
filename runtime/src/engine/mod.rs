//! The life of instances as the command line asks for it: create, find, start,
//! stop, remove. Whoever finds a record whose supervisor is gone cleans up first.

mod create;
mod networks;
mod remove;
mod spawn;
mod talk;
mod volumes;

pub use create::{Checker, Create, Wish};
pub use remove::hide_files;
pub use spawn::helper;
pub(crate) use talk::NOTICE;
pub use talk::{Launch, Session};
pub use volumes::remove_own_volumes;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::events::Events;
use crate::state::{
    DEFAULT_ROOT, InstancePaths, Lock, Names, Paths, Record, State, Status, read_json, write_json,
};

/// Instances below one data root.
#[derive(Debug)]
pub struct Engine {
    paths: Paths,
    names: Names,
}

/// One instance as it was when it was read.
#[derive(Clone, Debug)]
pub struct Instance {
    /// What was created.
    pub record: Record,
    /// What became of it.
    pub status: Status,
}

impl Engine {
    /// Opens a data root: the given one, that of `ISOLA_ROOT`, or
    /// [`DEFAULT_ROOT`]; made when absent.
    ///
    /// # Errors
    /// The folders can't be made.
    pub fn open(root: Option<&Path>) -> Result<Engine> {
        let root = match (root, std::env::var_os("ISOLA_ROOT")) {
            (Some(root), _) => root.to_owned(),
            (None, Some(root)) if !root.is_empty() => PathBuf::from(root),
            _ => PathBuf::from(DEFAULT_ROOT),
        };
        let root = std::path::absolute(&root)
            .map_err(|error| Error::io("use the data root", &root, error))?;
        let paths = Paths::new(root);
        for folder in [paths.instances(), paths.names()] {
            if !folder.is_dir() {
                private_folder(&folder)?;
            }
        }
        Ok(Engine {
            names: Names::new(&paths),
            paths,
        })
    }

    /// The data root's layout.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Tells of something that was done to an instance, with Docker's word for it.
    pub fn tell(&self, instance: &Instance, action: &str) {
        self.events().instance(&instance.record, action, &[]);
    }

    fn events(&self) -> Events {
        Events::of(&self.paths)
    }

    /// Files of an instance.
    pub fn files(&self, instance: &Instance) -> InstancePaths {
        self.paths.instance(&instance.record.id)
    }

    /// The instance with this name or id, or the only one whose id starts so.
    ///
    /// # Errors
    /// [`Kind::NoSuch`] when there is none, [`Kind::Invalid`] when there are several.
    pub fn find(&self, key: &str) -> Result<Instance> {
        let none = || {
            Error::new(Kind::NoSuch, format!("no such instance: {key}"))
                .hint("`isola ps -a` lists all instances")
        };
        let id = match self.names.lookup(key) {
            Some(id) => id,
            None if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                return Err(none());
            }
            None => {
                let mut ids = self.ids()?.into_iter().filter(|id| id.starts_with(key));
                let first = ids.next().ok_or_else(none)?;
                if ids.next().is_some() {
                    return Err(Error::new(
                        Kind::Invalid,
                        format!("several instances have an id that starts with {key}"),
                    ));
                }
                first
            }
        };
        self.read(&id)?.ok_or_else(none)
    }

    /// All instances, newest first.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn list(&self) -> Result<Vec<Instance>> {
        let mut list = Vec::new();
        for id in self.ids()? {
            match self.read(&id) {
                Ok(instance) => list.extend(instance),
                // One damaged record must not hide the others.
                Err(error) => eprintln!("warning: {error}"),
            }
        }
        list.sort_by_key(|instance| std::cmp::Reverse(instance.record.created_ms));
        Ok(list)
    }

    /// Ids of all instances; also clears away what killed commands left.
    fn ids(&self) -> Result<Vec<String>> {
        let folder = self.paths.instances();
        let entries =
            std::fs::read_dir(&folder).map_err(|error| Error::io("read", &folder, error))?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let (ids, rest): (Vec<_>, Vec<_>) = names.partition(|name| !name.starts_with('.'));
        if !rest.is_empty()
            && let Ok(Some(_lock)) = Lock::try_take(&self.paths.lock())
        {
            if let Err(error) = crate::links::tidy_if_free(&self.paths) {
                eprintln!("warning: {error}");
            }
            rest.iter()
                .for_each(|name| remove::clear(&folder.join(name)));
        }
        Ok(ids)
    }

    /// Reads an instance, after finding the truth if its supervisor has died.
    fn read(&self, id: &str) -> Result<Option<Instance>> {
        let files = self.paths.instance(id);
        let read = || -> Result<Option<(Record, Status)>> {
            let record = read_json(&files.config())?;
            Ok(record.zip(read_json(&files.status())?))
        };
        let (record, status) = match read() {
            Ok(Some(found)) => found,
            other if files.transient().exists() && self.clear_lost(id, &files)? => {
                drop(other);
                return Ok(None);
            }
            other => return other.map(|_| None),
        };
        if !status.state.is_live() && status.supervisor_pid.is_none() {
            return Ok(Some(Instance { record, status }));
        }
        match Lock::try_take(&files.lock())? {
            // Its supervisor lives.
            None => Ok(read_json(&files.status())?.map(|status| Instance { record, status })),
            Some(lock) => self.recover(record, &lock),
        }
    }

    /// Removes what is left of a transient instance whose records, which are not
    /// synced, the host lost when it went down. False when it lives.
    fn clear_lost(&self, id: &str, files: &InstancePaths) -> Result<bool> {
        let _root = Lock::wait(&self.paths.lock())?;
        if files.lock().exists() && Lock::try_take(&files.lock())?.is_none() {
            return Ok(false);
        }
        // Wherever its group was: the host went down with it.
        if let Some(cgroup) = Cgroup::find(id, None)? {
            cgroup.destroy()?;
        }
        crate::links::give_back_by_id(&self.paths, id)?;
        self.names.release_all(id);
        crate::rootfs::remove_tree(files.dir())?;
        Ok(true)
    }

    /// Cleans up after a supervisor that was killed. The caller holds the lock.
    fn recover(&self, record: Record, _lock: &Lock) -> Result<Option<Instance>> {
        let files = self.paths.instance(&record.id);
        // It may have come to rest between the first look and the lock.
        let Some(mut status) = read_json::<Status>(&files.status())? else {
            return Ok(None);
        };
        if status.state.is_live() || status.supervisor_pid.is_some() {
            let parent = record.workload.resources.cgroup_parent.as_deref();
            if let Some(cgroup) = Cgroup::find(&record.id, parent)? {
                cgroup.kill()?;
                cgroup.destroy()?;
            }
            let left = crate::links::give_back_of(&self.paths, &record)?;
            let _ = std::fs::remove_file(files.socket());
            let lost = status.state.is_live();
            if lost {
                status.state = State::Exited;
                status.exit_code = Some(137);
                status.finished_ms = Some(crate::state::now_ms());
                status.error = Some("its supervisor was killed, or the host went down".to_owned());
            }
            status.pid = None;
            status.supervisor_pid = None;
            if !record.workload.auto_remove {
                write_json(&files.status(), &status)?;
            }
            if lost {
                self.tell_lost(&record, &status, &left);
            }
            if record.workload.auto_remove {
                remove::remove_files(&self.paths, &self.names, &record)?;
                remove_own_volumes(self.paths.root(), &record)?;
                return Ok(None);
            }
        }
        Ok(Some(Instance { record, status }))
    }

    /// Tells what its supervisor could not tell any more.
    fn tell_lost(&self, record: &Record, status: &Status, networks: &[isola_net::Network]) {
        let events = self.events();
        for network in networks {
            events.network(record, "disconnect", network);
        }
        events.volumes(record, "unmount");
        let ended = status.finished_ms.unwrap_or(0);
        let ran = ended.saturating_sub(status.started_ms.unwrap_or(ended));
        events.died(record, status.exit_code.unwrap_or(137), ran);
    }

    /// The lock of an instance that does not run. Waits for one that is coming to
    /// rest; `None` when it runs on.
    fn lock_at_rest(&self, instance: &Instance) -> Result<Option<Lock>> {
        let files = self.files(instance);
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(lock) = Lock::try_take(&files.lock())? {
                return Ok(Some(lock));
            }
            if !files.dir().is_dir() {
                return Err(Error::new(
                    Kind::NoSuch,
                    format!("no such instance: {}", instance.record.name),
                ));
            }
            let status: Option<Status> = read_json(&files.status())?;
            // A supervisor that rests takes its socket away before it writes so.
            let live =
                status.is_some_and(|status| status.state.is_live()) && files.socket().exists();
            if live || Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A folder that only its owner may enter: layers hold set-user-id programs.
fn private_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::io("make the folder", path, error))
}

//! Namespaces of another instance that one joins (`--pid container:NAME`,
//! `--ipc container:NAME`). They are taken when it starts, and the kernel keeps them
//! for as long as it needs them: a pid namespace ends with its first process and takes
//! all others along, an IPC namespace stays until the last process has left.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::engine::{Engine, Instance};
use crate::error::{Error, Kind, Result};
use crate::state::{Paths, Record};
use crate::workload::{IpcMode, PidMode, WallCapabilities};

/// Where an instance's shared memory is.
const SHM: &str = "/dev/shm";

/// What is taken of others.
#[derive(Debug, Default)]
pub struct Joined {
    /// A pid namespace.
    pub pid: Option<OwnedFd>,
    /// An IPC namespace.
    pub ipc: Option<OwnedFd>,
    /// The mount of shared memory that belongs to it.
    pub shm: Option<OwnedFd>,
}

impl Joined {
    /// Takes what the workload of `record` asks for.
    ///
    /// # Errors
    /// An instance that is not there, does not run, is a guest, has a user namespace of
    /// its own, or does not share what is asked of it.
    pub fn take(paths: &Paths, record: &Record) -> Result<Joined> {
        let modes = &record.workload.namespaces;
        let mut joined = Joined::default();
        if let PidMode::Instance(key) = &modes.pid {
            let engine = Engine::open(Some(paths.root()))?;
            let other = Other::find(&engine, key, "the pid namespace", record)?.without_userns()?;
            joined.pid = Some(other.namespace("pid")?);
        }
        if let IpcMode::Instance(key) = &modes.ipc {
            let engine = Engine::open(Some(paths.root()))?;
            let other = Other::find(&engine, key, "the IPC namespace", record)?.without_userns()?;
            if other.instance.record.workload.namespaces.ipc != IpcMode::Shareable {
                let hint = format!("create {key} with `--ipc shareable`");
                return Err(other.refused("it is not shareable").hint(hint));
            }
            joined.ipc = Some(other.namespace("ipc")?);
            let shm = isola_init::mount_of(other.pidfd.as_fd(), SHM);
            joined.shm = Some(shm.map_err(|failure| other.refused(&failure.message))?);
        }
        Ok(joined)
    }
}

/// A running instance of which something is taken.
pub(crate) struct Other {
    /// It.
    pub(crate) instance: Instance,
    /// Its first process, as the host counts.
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    what: String,
}

impl Other {
    /// The running container of this name or id. `what` it has is to be shared with the
    /// instance of `record`.
    ///
    /// # Errors
    /// There is none, it does not run, has a kernel of its own, or is the
    /// instance itself.
    pub(crate) fn find(engine: &Engine, key: &str, what: &str, record: &Record) -> Result<Other> {
        let instance = engine.find(key)?;
        let what = format!("{what} of instance {key}");
        if instance.record.id == record.id {
            return Err(refused(&what, "it is the instance itself"));
        }
        let workload = &instance.record.workload;
        if WallCapabilities::of(workload.isolation).own_kernel {
            return Err(
                refused(&what, "it is a guest's, behind a kernel of its own")
                    .hint("put both behind the wall container"),
            );
        }
        let running = |instance: &Instance| {
            let pid = instance.status.pid;
            pid.filter(|_| instance.status.state.is_live())
        };
        let stopped =
            || refused(&what, "it does not run").hint(format!("start it with `isola start {key}`"));
        let pid = running(&instance).ok_or_else(stopped)?;
        let pidfd = Pid::from_raw(pid)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .ok_or_else(stopped)?;
        // Only now is it sure that the number was not another process's already.
        if running(&engine.find(&instance.record.id)?) != Some(pid) {
            return Err(stopped());
        }
        Ok(Other {
            instance,
            pid,
            pidfd,
            what,
        })
    }

    /// Refuses one whose user namespace owns what is asked for.
    fn without_userns(self) -> Result<Other> {
        match self.instance.record.workload.security.userns {
            None => Ok(self),
            Some(_) => Err(self
                .refused("it belongs to a user namespace of its own")
                .hint("create the other one without --userns")),
        }
    }

    /// One of its namespaces, by the name in /proc/PID/ns.
    ///
    /// # Errors
    /// It has ended meanwhile.
    pub(crate) fn namespace(&self, name: &str) -> Result<OwnedFd> {
        let file = File::open(format!("/proc/{}/ns/{name}", self.pid))
            .map_err(|_| self.refused("it has just ended"))?;
        // While this process is there the number is its own.
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(0) => Ok(file.into()),
            _ => Err(self.refused("it has just ended")),
        }
    }

    fn refused(&self, why: &str) -> Error {
        refused(&self.what, why)
    }
}

fn refused(what: &str, why: &str) -> Error {
    Error::new(Kind::Conflict, format!("{what} can't be shared: {why}"))
}

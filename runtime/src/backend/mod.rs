//! The walls. A [`Backend`] puts one kind up, a [`Sandbox`] is one that stands.
//! What a wall can do is data ([`crate::workload::WallCapabilities`]); nothing
//! outside of this module asks which backend runs.

mod container;
pub mod guest;
mod select;
mod spawner;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use isola_init::stream::{Peer, PollSet};
use isola_proto::Interface;
use serde::{Deserialize, Serialize};

pub use container::Container;
pub use select::{Choice, select};

use crate::cgroup::{Cgroup, DevicePolicy, Limits};
use crate::error::{Error, Kind, Result};
use crate::joined::Joined;
use crate::links::{Link, Links};
use crate::state::{InstancePaths, Paths, Record};
use crate::storage::Storage;
use crate::workload::{Isolation, Workload};

/// Why a wall can't be put up on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unusable {
    /// One line.
    pub reason: String,
    /// What may help.
    pub hint: Option<String>,
}

impl Unusable {
    /// A reason without a hint.
    pub fn new(reason: impl Into<String>) -> Unusable {
        Unusable {
            reason: reason.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Unusable {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What a backend is given.
#[derive(Debug)]
pub struct LaunchContext<'a> {
    /// The instance and its workload.
    pub record: &'a Record,
    /// Its files.
    pub paths: &'a InstancePaths,
    /// Its cgroup.
    pub cgroup: &'a Cgroup,
    /// Its places in networks; the wall makes the links.
    pub links: &'a Rc<RefCell<Links>>,
    /// What its mounts are taken from.
    pub storage: &'a Storage,
    /// Namespaces of other instances, for the wall that can join them.
    pub joined: &'a RefCell<Joined>,
}

/// One kind of wall.
pub trait Backend: Sync {
    /// Which.
    fn isolation(&self) -> Isolation;

    /// Whether it can be put up on this host, or why not.
    ///
    /// # Errors
    /// The reason and a hint.
    fn probe(&self, paths: &Paths) -> std::result::Result<(), Unusable>;

    /// What the instance's cgroup has to hold ([`Cgroup::create`]): the limits of
    /// the workload where it runs on the host's kernel, those of its machine where
    /// it has one.
    fn holds(&self, workload: &Workload) -> (Limits, DevicePolicy);

    /// Puts the wall up in the calling supervisor, which has one thread and a
    /// mount namespace of its own. The workload is started by a
    /// [`isola_proto::Request::Start`] to the sandbox's peer.
    ///
    /// # Errors
    /// What could not be done; nothing is left then.
    fn launch(&self, context: &LaunchContext<'_>) -> Result<Box<dyn Sandbox>>;
}

/// A wall that stands, with whatever runs processes behind it. Dropping it kills
/// what is left.
pub trait Sandbox {
    /// Requests go in, events and output come out.
    fn peer(&mut self) -> &mut dyn Peer;

    /// Adds descriptors (the peer's, too) to the next poll.
    fn register(&self, set: &mut PollSet);

    /// Does the ready work.
    ///
    /// # Errors
    /// A call failed in a way that no retry mends.
    fn dispatch(&mut self, set: &PollSet) -> io::Result<()>;

    /// When it wants to be dispatched at the latest, whatever happens.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Set once the wall is down: the machine has ended, or the last process of a
    /// container.
    fn ended(&mut self) -> Option<SandboxEnd>;

    /// The workload has ended: take the surroundings down gracefully.
    fn shutdown(&mut self);

    /// Take everything down now; when it returns no process is left. Output that
    /// came before can still be read from the peer.
    fn kill(&mut self);

    /// The host process that stands for it: the container's first process, or the
    /// machine program.
    fn pid(&self) -> Option<i32>;

    /// It was frozen or thawed from outside.
    fn paused(&mut self, _paused: bool) {}

    /// Where the sources of the workload's mounts are behind the wall, in their order;
    /// nothing for what has none.
    fn sources(&self) -> Vec<Option<String>>;

    /// Makes a further link while the workload runs. Returns how it is to be set up, by
    /// a [`isola_proto::Request::Interfaces`] to the peer.
    ///
    /// # Errors
    /// This wall has no room for one more, or the system refused.
    fn plug(&mut self, link: &Link, default_routes: bool) -> Result<Interface>;

    /// How a link that is there is to be set up so that it gives the default routes.
    ///
    /// # Errors
    /// There is no such link.
    fn replug(&mut self, link: &Link) -> Result<Interface>;

    /// Takes a link away. What is still to be said to the peer, if anything.
    ///
    /// # Errors
    /// The system refused.
    fn unplug(&mut self, link: &Link) -> Result<Option<Interface>>;
}

/// How a wall came down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxEnd {
    /// One line.
    pub reason: String,
    /// It came down before the workload was there, for a reason that seldom comes
    /// twice: another try is worth it, and until then it may still come up by itself.
    pub again: bool,
}

/// All walls that this program can put up.
pub fn all() -> &'static [&'static dyn Backend] {
    &[&Container, &guest::Vm, &guest::Emulated]
}

/// The backend for one kind of wall.
///
/// # Errors
/// This program was built without it.
pub fn of(isolation: Isolation) -> Result<&'static dyn Backend> {
    all()
        .iter()
        .copied()
        .find(|backend| backend.isolation() == isolation)
        .ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                format!("this program has no isolation '{}'", isolation.name()),
            )
        })
}

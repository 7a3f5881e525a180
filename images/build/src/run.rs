//! What a step that runs a program needs, free of any wall.

use std::io::Read;
use std::path::PathBuf;

use isola_images::Layer;

use crate::dockerfile::Network;
use crate::error::Result;

/// A program to run in a root, and where its changes go.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The layers that it sees, the lowest first.
    pub layers: Vec<&'a Layer>,
    /// Program and arguments; never empty.
    pub args: Vec<String>,
    /// Its environment, as `KEY=VALUE`.
    pub env: Vec<String>,
    /// USER; may be empty.
    pub user: String,
    /// Its folder.
    pub cwd: String,
    /// What is mounted besides the standard ones.
    pub mounts: Vec<JobMount>,
    /// Its network.
    pub network: Network,
    /// Further lines of its hosts file, as `NAME:ADDRESS`.
    pub hosts: Vec<String>,
    /// Bytes of /dev/shm, as the user wrote it.
    pub shm_size: Option<String>,
}

/// A mount of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobMount {
    /// A file or folder of the host.
    Bind {
        /// There.
        source: PathBuf,
        /// In the root.
        target: String,
        /// Can't be written to.
        readonly: bool,
    },
    /// A socket in the root whose connections go on to one of the host: an SSH agent.
    Socket {
        /// The host's socket.
        source: PathBuf,
        /// In the root; nothing may be there yet.
        target: String,
        /// Permission bits.
        mode: u32,
        /// User and group.
        owner: (u32, u32),
    },
    /// Memory.
    Tmpfs {
        /// In the root.
        target: String,
        /// Bytes.
        size: Option<u64>,
    },
}

impl JobMount {
    /// Where it is in the root.
    pub fn target(&self) -> &str {
        match self {
            JobMount::Bind { target, .. }
            | JobMount::Socket { target, .. }
            | JobMount::Tmpfs { target, .. } => target,
        }
    }
}

/// Hears what a program writes: its bytes, and whether they are errors.
pub type Said<'a> = &'a mut dyn FnMut(&[u8], bool);

/// Takes the changes as a tar stream with whiteouts.
pub type Take<'a> = &'a mut dyn FnMut(&mut dyn Read) -> Result<()>;

/// Runs programs behind a wall.
pub trait Runner: Sync {
    /// Says what is wrong with the options of steps, before anything is done.
    ///
    /// # Errors
    /// A line of the hosts file, a size or a limit that can't be.
    fn check(&self, hosts: &[String], shm_size: Option<&str>) -> Result<()>;

    /// Runs the job; when its program has ended with 0, `take` gets what it has
    /// changed. Nothing is left of it afterwards. `stop` tells that the result is of no
    /// interest any more.
    ///
    /// # Errors
    /// [`crate::Kind::Run`] with the program's code; what could not be done.
    fn run(
        &self,
        job: &Job<'_>,
        said: Said<'_>,
        take: Take<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<()>;
}

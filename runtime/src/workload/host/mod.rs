//! What resolution needs to know of the host, as data and a view of its files,
//! so that resolution itself stays a function that tests can call anywhere.

mod live;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use isola_proto::spec::IdMaps;

use crate::cgroup::Abilities;
use crate::error::{Error, Kind, Result};

/// Largest file of options (environment, labels, seccomp profile) that is read.
const MAX_FILE: u64 = 4 << 20;

/// The host.
pub struct HostFacts<'a> {
    /// Its host name.
    pub hostname: String,
    /// The folder in which the command was given; relative paths start there.
    pub cwd: PathBuf,
    /// The environment of the command.
    pub env: BTreeMap<String, String>,
    /// Architecture as in Go (`amd64`).
    pub architecture: String,
    /// First two numbers of the kernel's version.
    pub kernel: (u32, u32),
    /// Bytes of memory.
    pub memory: u64,
    /// CPUs that are online.
    pub cpus: BTreeSet<u32>,
    /// Capabilities that the tool could pass on (its own bounding set).
    pub capabilities: Vec<String>,
    /// The tool's own hard limits, by name as in [`isola_proto::spec::Rlimit`].
    pub hard_limits: BTreeMap<String, u64>,
    /// Files carry SELinux labels.
    pub selinux: bool,
    /// What the host's cgroups can do.
    pub cgroups: Abilities,
    /// The range of ids that `--userns auto` maps.
    pub subordinate: IdMaps,
    /// Its files.
    pub files: &'a dyn Files,
}

/// A view of files.
pub trait Files {
    /// What is at `path`, symbolic links followed.
    ///
    /// # Errors
    /// Those of stat(2).
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// The content of the file at `path`, at most `limit` bytes.
    ///
    /// # Errors
    /// Those of open(2) and read(2); `FileTooLarge` beyond the limit.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// All device nodes below the folder `path`, sorted by path; links are not
    /// followed and mounts are not entered.
    ///
    /// # Errors
    /// Those of readdir(3) on `path` itself.
    fn nodes_below(&self, path: &Path) -> io::Result<Vec<(PathBuf, Stat)>>;
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its type.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a node.
    pub major: u32,
    /// Device number of a node.
    pub minor: u32,
}

/// Types of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Folder.
    Dir,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Anything else.
    Other,
}

impl HostFacts<'_> {
    /// `path` as an absolute path.
    pub fn absolute(&self, path: &str) -> PathBuf {
        self.cwd.join(path)
    }

    /// The content of a file of text that the option `flag` names.
    pub(crate) fn read_option_file(&self, flag: &str, path: &str) -> Result<Vec<u8>> {
        self.files
            .read(&self.absolute(path), MAX_FILE)
            .map_err(|error| {
                let kind = if error.kind() == io::ErrorKind::NotFound {
                    Kind::Invalid
                } else {
                    Kind::System
                };
                Error::new(kind, format!("{flag}: cannot read {path:?}: {error}"))
            })
    }

    /// Whether the tool itself has a capability that it could pass on.
    pub(crate) fn has_capability(&self, name: &str) -> bool {
        self.capabilities.iter().any(|have| have == name)
    }
}

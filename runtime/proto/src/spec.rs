//! What is to be run and in which surroundings, in terms of Linux alone: no
//! image, no instance, no backend. A container's supervisor and the agent in a
//! guest get the same values and hand them to the same code (`isola-init`).

use serde::{Deserialize, Serialize};

/// Where a guest's agent mounts the virtio-fs device with folders of the host.
pub const SHARES: &str = "/run/isola/shares";
/// Where a guest's agent mounts the disks of block volumes, by number.
pub const VOLUMES: &str = "/run/isola/volumes";

/// A set of surroundings and the first process in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The file tree and names that the process sees.
    pub root: RootSpec,
    /// The first process.
    pub process: ProcessSpec,
    /// Namespaces that are made new for it.
    pub namespaces: Namespaces,
    /// Put a small PID 1 in front of the process that forwards signals and reaps
    /// (`--init`).
    pub init: bool,
}

/// Namespaces to be made new (clone(2)); those not named are the maker's own.
/// The mount namespace is always new.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Namespaces {
    /// CLONE_NEWPID.
    pub pid: bool,
    /// CLONE_NEWNET; loopback is brought up in it.
    pub net: bool,
    /// CLONE_NEWIPC.
    pub ipc: bool,
    /// CLONE_NEWUTS.
    pub uts: bool,
    /// CLONE_NEWCGROUP.
    pub cgroup: bool,
    /// CLONE_NEWUSER with these mappings.
    pub user: Option<IdMaps>,
}

/// Mappings of a user namespace (user_namespaces(7)).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IdMaps {
    /// User ids.
    pub uids: Vec<IdMap>,
    /// Group ids.
    pub gids: Vec<IdMap>,
}

/// One range of a mapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdMap {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// Number of ids.
    pub size: u32,
}

/// The file tree and names that a sandbox's processes see.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootSpec {
    /// sethostname(2), in a new UTS namespace only.
    pub hostname: Option<String>,
    /// setdomainname(2).
    pub domainname: Option<String>,
    /// Mounts in the order in which they are made.
    pub mounts: Vec<Mount>,
    /// Nodes made in /dev beyond the standard ones (OCI runtime specification,
    /// "Default Devices").
    pub devices: Vec<Device>,
    /// Paths hidden behind an empty read-only file or folder.
    pub masked_paths: Vec<String>,
    /// Paths made read-only.
    pub readonly_paths: Vec<String>,
    /// Names with dots and values, written to /proc/sys of the new namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Small files put over the tree (hosts, resolv.conf, hostname).
    pub files: Vec<TextFile>,
    /// Remount the root read-only at the end (`--read-only`).
    pub readonly: bool,
}

/// One mount. `target` is resolved inside the root and can't leave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, as an absolute path in the sandbox; made if absent.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// MS_RDONLY.
    pub readonly: bool,
    /// MS_NOSUID.
    pub nosuid: bool,
    /// MS_NODEV.
    pub nodev: bool,
    /// MS_NOEXEC.
    pub noexec: bool,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// procfs of the new pid namespace.
    Proc,
    /// sysfs.
    Sysfs,
    /// The /dev of the OCI runtime specification: a tmpfs with the standard
    /// nodes and links, devpts on pts.
    Dev,
    /// POSIX message queues.
    Mqueue,
    /// The cgroup tree, read-only unless the mount says otherwise.
    Cgroup,
    /// The /dev/shm of the sandbox whose IPC namespace is joined, which its maker
    /// hands over.
    JoinedShm,
    /// A tmpfs with its data string (`size=`, `mode=`, `uid=`...).
    Tmpfs {
        /// Options for mount(2).
        data: String,
    },
    /// A path outside of the sandbox, opened before the root is changed.
    Bind {
        /// Absolute path in the maker's mount namespace.
        source: String,
        /// Follow submounts (MS_REC).
        recursive: bool,
        /// `private`, `rprivate`, `slave`, `rslave`, `shared` or `rshared`.
        propagation: String,
    },
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute path in the sandbox.
    pub path: String,
    /// `c`, `b` or `p` (mknod(1)).
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A small file whose content comes from the tool, shown over the image's own
/// without touching the image (a bind mount of a file on a private tmpfs).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextFile {
    /// Absolute path in the sandbox.
    pub path: String,
    /// Content.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// What it does.
    pub program: Program,
    /// Environment as KEY=VALUE; `PATH` of it is used to find the program, and
    /// `HOME` is added from the passwd file when absent.
    pub env: Vec<String>,
    /// Working directory inside the root.
    pub cwd: String,
    /// Make the working directory when absent (as images ask), else fail.
    pub create_cwd: bool,
    /// `user`, `uid`, `user:group`, `uid:gid` or any mixture; empty is root.
    /// Names are looked up in the root's own passwd and group files.
    pub user: String,
    /// Further groups by name or number (`--group-add`).
    pub extra_groups: Vec<String>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// A seccomp filter, compiled; empty means none.
    pub seccomp: Vec<SockFilter>,
    /// umask(2).
    pub umask: Option<u32>,
    /// Value for /proc/self/oom_score_adj.
    pub oom_score_adj: Option<i32>,
    /// A terminal of this size is the process's standard input, output and error.
    pub terminal: Option<TermSize>,
    /// Keep standard input open; else it is /dev/null.
    pub stdin: bool,
}

/// What a process does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// Runs a program found as execvp(3) does.
    Exec {
        /// Program and arguments; never empty.
        args: Vec<String>,
    },
    /// Waits for SIGTERM. Holds a sandbox open so that files can be copied in or
    /// out while the workload itself is stopped.
    #[default]
    Idle,
    /// Writes the file or folder at `path` to standard output as a tar archive,
    /// names relative to the parent of `path` (`docker cp` semantics).
    TarOut {
        /// Path inside the root.
        path: String,
        /// Follow `path` itself when it is a symbolic link.
        follow: bool,
    },
    /// Reads a tar archive from standard input into the folder `path`.
    TarIn {
        /// Path of an existing folder inside the root.
        path: String,
        /// Keep the archive's owners instead of becoming root's.
        owners: bool,
    },
    /// Removes files and folders, what is below them included. What is not there is no
    /// error.
    Remove {
        /// Paths inside the root.
        paths: Vec<String>,
    },
    /// Writes what was changed in the root since the image to standard output, as a
    /// layer's tar stream (OCI image specification, "Image Layer Filesystem Changeset").
    Changes {
        /// End all other processes first, but the first one.
        alone: bool,
    },
    /// Listens at sockets in the root and passes their connections on as frames of their
    /// own over standard input and output ([`crate::relay`]), until its input ends.
    Listen {
        /// The sockets; what is at their paths already is left alone and an error.
        sockets: Vec<ListenSocket>,
    },
}

/// A socket that [`Program::Listen`] makes (unix(7), a stream).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenSocket {
    /// Absolute path inside the root. Folders that lead there are made.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The five capability sets by name, as `CAP_CHOWN` (capabilities(7)).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Limits what any later execve can gain.
    pub bounding: Vec<String>,
    /// In force.
    pub effective: Vec<String>,
    /// May be put in force.
    pub permitted: Vec<String>,
    /// Kept over execve by a file's inheritable set; empty unless asked for
    /// (CVE-2022-24769).
    pub inheritable: Vec<String>,
    /// Kept over execve without file capabilities.
    pub ambient: Vec<String>,
}

/// One resource limit (getrlimit(2)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Name in lower case without prefix: `nofile`, `nproc`...
    pub resource: String,
    /// Soft limit; `u64::MAX` is no limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SockFilter(pub u16, pub u8, pub u8, pub u32);

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

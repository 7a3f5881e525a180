//! Where everything lies below the data root.

use std::path::{Path, PathBuf};

/// Data root when neither `--root` nor `ISOLA_ROOT` names another.
pub const DEFAULT_ROOT: &str = "/var/lib/isola";

/// The data root's layout.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The layout below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Paths {
        Paths { root: root.into() }
    }

    /// The data root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Guest kernels; `ISOLA_KERNELS` lets several roots share one folder.
    pub fn kernels(&self) -> PathBuf {
        std::env::var_os("ISOLA_KERNELS").map_or_else(|| self.root.join("kernels"), PathBuf::from)
    }

    /// One folder per instance.
    pub fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// Symbolic links, name -> id.
    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// Held while an instance is created, renamed or removed.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// What was found out about this host, per boot.
    pub fn probes(&self) -> PathBuf {
        self.root.join("probes")
    }

    /// The folder of one instance.
    pub fn instance(&self, id: &str) -> InstancePaths {
        InstancePaths {
            dir: self.instances().join(id),
        }
    }
}

/// Files of one instance.
#[derive(Clone, Debug)]
pub struct InstancePaths {
    dir: PathBuf,
}

impl InstancePaths {
    /// The folder that holds the others.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Id, name and workload ([`super::Record`]).
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// Marks a folder whose records are not synced ([`super::Record::is_transient`]).
    pub fn transient(&self) -> PathBuf {
        self.dir.join("transient")
    }

    /// What became of it ([`super::Status`]).
    pub fn status(&self) -> PathBuf {
        self.dir.join("status.json")
    }

    /// Locked by whoever may change the instance: its supervisor while it runs.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The supervisor's UNIX socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// The log (json-file).
    pub fn log(&self) -> PathBuf {
        self.dir.join("log.json")
    }

    /// What the supervisor itself has to say.
    pub fn supervisor_log(&self) -> PathBuf {
        self.dir.join("supervisor.log")
    }

    /// The guest's serial console.
    pub fn console(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// UNIX socket on which the guest's serial console is served.
    pub fn console_socket(&self) -> PathBuf {
        self.dir.join("console.sock")
    }

    /// Writable layer of a container.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// overlayfs's work folder.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Where the supervisor mounts the root, in its private mount namespace.
    pub fn mount(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Writable layer of a guest.
    pub fn disk(&self) -> PathBuf {
        self.dir.join("disk.ext4")
    }
}

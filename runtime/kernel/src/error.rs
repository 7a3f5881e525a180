//! What can go wrong with guest kernels, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with guest kernels.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a file failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No kernel of any kind is there.
    #[error("no guest kernel is installed in {0}")]
    NoKernel(PathBuf),
    /// No kernel has this name.
    #[error("no guest kernel is called {0:?}")]
    Unknown(String),
    /// A file is not a kernel that a guest could boot.
    #[error("{path} is not a guest kernel: {why}")]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A record on disk is damaged.
    #[error("the record {path} is damaged: {why}")]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Programs or headers needed to build a kernel are missing.
    #[error("cannot build a kernel: missing {what}")]
    MissingTools {
        /// Names of what is missing.
        what: String,
        /// Debian packages that have them.
        packages: String,
    },
    /// A program could not be started or failed.
    #[error("{program} failed: {detail}")]
    Tool {
        /// Program and what it was to do.
        program: String,
        /// Last words or exit status.
        detail: String,
    },
    /// The package manager does not know a package.
    #[error("apt does not know the package {0}")]
    NoPackage(String),
    /// The package manager is not there at all.
    #[error("cannot run {0}: a kernel package can only be had from apt")]
    NoApt(&'static str),
    /// A package or a source tree does not contain what it should.
    #[error("{what} has no {missing}")]
    Incomplete {
        /// What was searched.
        what: String,
        /// What was not found.
        missing: String,
    },
    /// The kernel's own configuration did not take over lines of ours.
    #[error("the kernel's configuration does not accept: {0}")]
    Config(String),
    /// Too little room on the file system.
    #[error("{path} has {free} MiB free, {needed} MiB are needed")]
    Space {
        /// Folder on the file system.
        path: PathBuf,
        /// Free MiB.
        free: u64,
        /// Needed MiB.
        needed: u64,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NoKernel(_) => {
                Some("isola kernel fetch (seconds) or isola kernel build (minutes)".into())
            }
            Error::Unknown(_) => Some("isola kernel ls shows the names".into()),
            Error::NotAKernel { .. } => {
                Some("an x86-64 vmlinux (ELF) or a bzImage is needed".into())
            }
            Error::Record { path, .. } => path
                .parent()
                .and_then(|folder| folder.file_name())
                .map(|name| format!("isola kernel rm {}", name.display())),
            Error::MissingTools { packages, .. } => Some(format!("apt-get install {packages}")),
            Error::NoPackage(_) => Some("apt-get update, then try again".into()),
            Error::NoApt(_) => Some("isola kernel use PATH takes a kernel of your own".into()),
            _ => None,
        }
    }

    /// Makes an [`Error::Io`] from what `map_err` gets.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    }
}

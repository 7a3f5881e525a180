//! Starting the supervisor's program.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::error::{Error, Kind, Result};
use crate::state::Lock;

use super::{Engine, Instance};

/// The path of one of our own programs: `ISOLA_LIBEXEC`, the folder of the
/// running program, or `../libexec/isola` from there.
///
/// # Errors
/// It is in none of these.
pub fn helper(name: &str) -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("ISOLA_LIBEXEC")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    if let Ok(own) = std::env::current_exe()
        && let Some(folder) = own.parent()
    {
        folders.push(folder.to_owned());
        folders.push(folder.join("../libexec/isola"));
    }
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Error::new(Kind::System, format!("cannot find the program {name}"))
            .hint("it belongs beside `isola` or into ../libexec/isola; ISOLA_LIBEXEC names another folder")
    })
}

impl Engine {
    /// Starts the supervisor of an instance and hands it the instance's lock.
    /// Returns the other end of its first connection.
    pub(super) fn spawn_supervisor(&self, instance: &Instance, lock: Lock) -> Result<OwnedFd> {
        // Descriptors that are to be inherited must not be while another thread
        // starts a program: one at a time, and `lock` goes with this function.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = lock;
        let program = helper("isola-supervisor")?;
        let failed = |error: std::io::Error| Error::io("start", &program, error);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let executable = isola_init::sealed(&program).map_err(failed)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.files(instance).supervisor_log())
            .map_err(|error| Error::io("open", &self.files(instance).supervisor_log(), error))?;
        // Of all programs only supervisors are started while there are threads.
        for fd in [lock.as_fd(), theirs.as_fd(), executable.as_fd()] {
            fcntl_setfd(fd, FdFlags::empty())
                .map_err(|error| Error::system("hand over a descriptor", error))?;
        }
        Command::new(format!("/proc/self/fd/{}", executable.as_raw_fd()))
            .arg0("isola-supervisor")
            .arg(self.paths.root())
            .arg(&instance.record.id)
            .arg(lock.as_fd().as_raw_fd().to_string())
            .arg(theirs.as_raw_fd().to_string())
            .current_dir("/")
            .env_clear()
            .envs(
                std::env::vars_os()
                    .filter(|(name, _)| name == "ISOLA_KERNELS" || name == "RUST_BACKTRACE"),
            )
            .env("ISOLA_LIBEXEC", program.parent().unwrap_or(&program))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        Ok(ours.into())
    }
}

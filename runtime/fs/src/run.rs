//! The program `isola-fsd`.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::sandbox;
use crate::server::{Options, Server};
use crate::vhost;

/// Descriptors that are kept back for the program itself.
const RESERVE: usize = 256;

/// What the program is told.
#[derive(Debug)]
pub struct Config {
    /// A connected UNIX stream socket, or a listening one that one machine will
    /// connect to.
    pub socket: OwnedFd,
    /// The folder whose tree is served.
    pub root: Root,
    /// Names in the root whose content the guest may remember for a second.
    pub cached: Vec<CString>,
}

/// Where the served folder is.
#[derive(Debug)]
pub enum Root {
    /// An open folder; O_PATH is enough.
    Fd(OwnedFd),
    /// Its path.
    Path(PathBuf),
}

/// Why the program ended before its machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be opened or looked at.
    #[error("{what}: {why}")]
    Io {
        /// What.
        what: String,
        /// Why.
        why: Errno,
    },
    /// The program can't shut itself in.
    #[error("sandbox: {0}")]
    Sandbox(#[from] sandbox::Error),
    /// The machine's program broke the protocol.
    #[error("{0}")]
    Vhost(#[from] vhost::Error),
}

fn io(what: impl Into<String>) -> impl FnOnce(Errno) -> Error {
    let what = what.into();
    move |why| Error::Io { what, why }
}

/// Takes over an inherited descriptor. Each number may be taken once.
///
/// # Errors
/// It is not open.
pub fn inherited(fd: i32) -> Result<OwnedFd, Error> {
    crate::sys::take_fd(fd).map_err(io(format!("descriptor {fd}")))
}

/// Serves one machine until it goes away. `/proc` must be mounted.
///
/// # Errors
/// What went wrong, in one line.
pub fn run(config: Config) -> Result<(), Error> {
    let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match config.root {
        Root::Fd(fd) => fd,
        Root::Path(folder) => {
            open(&folder, path, Mode::empty()).map_err(io(folder.display().to_string()))?
        }
    };
    let descriptors =
        open("/proc/self/fd", path, Mode::empty()).map_err(io("open /proc/self/fd"))?;
    let server = Server::new(Options {
        root,
        descriptors,
        cached: config.cached,
        open_files: sandbox::open_files().saturating_sub(RESERVE),
    })
    .map_err(io("the served folder"))?;
    let socket = accept(config.socket)?;
    sandbox::enter()?;
    Ok(vhost::serve(Arc::new(server), socket)?)
}

/// The connection to the machine's program.
fn accept(socket: OwnedFd) -> Result<UnixStream, Error> {
    let listening = rustix::net::sockopt::socket_acceptconn(&socket).map_err(io("the socket"))?;
    if !listening {
        return Ok(UnixStream::from(socket));
    }
    let accepted = UnixListener::from(socket).accept();
    accepted.map(|(stream, _)| stream).map_err(|why| Error::Io {
        what: "accept a connection".to_owned(),
        why: Errno::from_io_error(&why).unwrap_or(Errno::IO),
    })
}

//! The client of `isola-netd`, the process that answers a network's DNS queries
//! and relays what the kernel can't translate.
//!
//! There is at most one such process per network. Whoever runs an instance holds
//! one connection to it (a [`Member`]): names, addresses and listening sockets are
//! there as long as the connection is. The first member starts the process, with
//! the last one it goes, and when it dies its members start it again.
//!
//! ```text
//! DIR/netd.sock   SOCK_SEQPACKET, made by the member that starts the process
//! DIR/netd.lock   flock(2): held to start the process, and by it to go
//! DIR/netd.log    what it has to say
//! ```
//! The starter binds the socket and hands it over, so that a connection never
//! waits for the process, it waits in the socket's queue. A connection counts
//! only when its hello was answered: the process goes while it holds the lock and
//! after a last look at the queue, so that one that comes later gets no answer,
//! waits for the lock and starts a new process.

mod client;
mod message;

pub use client::{Listener, Member};
pub use message::{
    Answer, Limits, MAX_FDS, MAX_MESSAGE, NetdConfig, Protocol, Registration, Relay, Request,
    VERSION, receive, send,
};

use std::io;
use std::path::{Path, PathBuf};

/// The names of the files in a network's folder.
pub mod files {
    /// The socket.
    pub const SOCKET: &str = "netd.sock";
    /// The lock.
    pub const LOCK: &str = "netd.lock";
    /// The log.
    pub const LOG: &str = "netd.log";
}

/// Why a member can't join.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something on a file.
    #[error("cannot {what} {}: {why}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        why: io::Error,
    },
    /// The connection failed, or nothing came in time.
    #[error("cannot {what} the name server of network {network}: {why}")]
    Connection {
        /// What was tried.
        what: &'static str,
        /// The network's name.
        network: String,
        /// The kernel's answer.
        why: io::Error,
    },
    /// The process refused, or could not start.
    #[error("the name server of network {network} refuses: {why}")]
    Refused {
        /// The network's name.
        network: String,
        /// One line.
        why: String,
    },
}

impl Error {
    fn file(what: &'static str, path: &Path, why: impl Into<io::Error>) -> Error {
        Error::File {
            what,
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

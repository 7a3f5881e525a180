//! Shared folders of a guest: a FUSE server behind virtio-fs (virtio 1.2, section
//! 5.11), reached over vhost-user.
//!
//! One process (`isola-fsd`) serves one guest. Its supervisor starts it in a jail
//! that holds nothing but the shares, so whatever a guest makes of the server, the
//! host's kernel keeps it inside of them; read-only shares are mounted read-only.
//! The server itself never follows a link and never takes more than one component
//! of a path, so that there is no way out of a share for a guest that plays by no
//! rules either.
//!
//! # Coherence
//! A container and a guest may use a folder at the same time. Names and attributes
//! are asked for each time. Reads and writes come as they are (FOPEN_DIRECT_IO), by the
//! guest's page cache; mappings are made of pages that are kept over an open only if
//! the file did not change. A guest's kernel before Linux 6.6 can't map such files for
//! sharing; its reads go through its pages, and each checks whether the file changed.
//! Writes go to the host at once.
//! Shares named in [`Options::cached`] allow the guest to be a second behind.
//!
//! # Threads
//! The main thread speaks vhost-user. Each queue has one thread that takes
//! requests and carries them out; before it does something that may last (fsync,
//! waiting for a lock), it hands the queue to another.

mod chain;
mod creds;
mod handle;
mod node;
mod open;
pub mod run;
mod sandbox;
mod server;
mod sys;
pub mod vhost;
pub mod wire;

pub use chain::Chain;
pub use server::{Options, Server, Spare, Worker};

//! What PID 1 does, for a container's first process and for the guest agent:
//! [`launch`] puts a sandbox together and starts its first process, [`join`] starts
//! a further one in it. Both take the same values on a host and in a guest.
//!
//! The maker's side must be single-threaded: the child is a plain clone of it.

pub mod agent;
mod capability;
mod cgroup;
mod child;
mod children;
mod control;
mod copy;
mod copy_attributes;
mod copy_in;
mod copy_out;
mod copy_record;
mod copy_remove;
mod dev;
mod error;
mod exec;
mod fds;
mod files;
mod init1;
mod join;
mod launch;
mod limits;
mod listen;
mod mask;
mod mountfd;
mod mounts;
mod neighbour;
mod net;
mod orphans;
mod path;
mod process;
mod pty;
mod root;
mod sealed;
mod seccomp;
pub mod server;
mod sources;
pub mod stream;
mod sys;
mod sysctl;
mod title;
mod user;
mod userns;
mod wait;

pub use copy_out::changes;
pub use files::Texts;
pub use join::{Target, join};
pub use launch::{Child, Launch, Stdio, Streams, launch};
pub use neighbour::mount_of;
pub use orphans::Orphans;
pub use pty::resize;
pub use root::{Root, private_mounts};
pub use rustix::process::Pid;
pub use sealed::sealed;
pub use userns::{idmap, userns_fd};
pub use wait::{kill, try_wait, wait};

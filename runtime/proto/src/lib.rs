//! Messages between Isola's host side and whatever runs processes: the agent in
//! a guest, the process server inside a container's supervisor, and the command
//! line that talks to a supervisor. Types, version and framing; no I/O.

pub mod frame;
pub mod message;
pub mod net;
pub mod relay;
pub mod spec;

pub use frame::{Decoder, Frame, FrameError, Kind};
pub use message::{ErrorKind, Event, ExitStatus, Failure, Request};
pub use net::{Interface, Mac};
pub use spec::{ProcessSpec, Program, RootSpec, SandboxSpec};

/// Version of the protocol. Both sides send theirs first and refuse another.
pub const VERSION: u32 = 3;

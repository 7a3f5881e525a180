//! Connections to sockets behind a wall, passed on as frames over the standard streams
//! of [`crate::Program::Listen`]. A frame's channel is the connection's number, which the
//! listener gives from 1 and never twice.
//!
//! - `Event` on channel 0: the sockets are there. The first frame.
//! - `Request`, from the listener: a new connection; the payload is the number of its
//!   socket in the list, `u32 LE`.
//! - `Stdout` from the listener, `Stdin` towards it: bytes; without any, that side has
//!   ended.
//!
//! One connection that takes nothing stops the others: enough for agents of keys and
//! their kind, whose messages are small.

use crate::frame::{Frame, Kind};

/// Connections that may be open at once; further ones are closed at once.
pub const CONNECTIONS: usize = 64;
/// Bytes in one frame.
pub const PIECE: usize = 16 << 10;

/// The sockets are there.
pub fn ready() -> Frame {
    Frame::data(Kind::Event, 0, Vec::new())
}

/// A new connection to the socket of this number.
pub fn opened(connection: u32, socket: u32) -> Frame {
    Frame::data(Kind::Request, connection, socket.to_le_bytes().to_vec())
}

/// The socket's number in a frame of [`opened`].
pub fn socket_of(frame: &Frame) -> Option<u32> {
    let bytes = frame.payload.as_slice().try_into().ok()?;
    (frame.kind == Kind::Request).then_some(u32::from_le_bytes(bytes))
}

//! The glue between frames and descriptors, for the supervisor, the command
//! line and the agent: one poll(2) loop, no thread.
//!
//! A loop over any number of peers looks like this:
//! ```no_run
//! # use isola_init::stream::{Conn, Peer, PollSet};
//! # fn f(mut left: Conn, mut right: Conn) -> std::io::Result<()> {
//! let mut set = PollSet::default();
//! while left.closed().is_none() && right.closed().is_none() {
//!     set.clear();
//!     left.register(&mut set);
//!     right.register(&mut set);
//!     set.wait(None)?;
//!     left.dispatch(&set)?;
//!     right.dispatch(&set)?;
//!     while let Some(frame) = left.next_frame() {
//!         right.send(frame);
//!     }
//!     while let Some(frame) = right.next_frame() {
//!         left.send(frame);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod conn;
mod poll;
mod relay;

use std::io;
use std::time::Duration;

use isola_proto::Frame;

pub use conn::Conn;
pub use poll::PollSet;
pub use relay::Relay;

/// One side that runs processes, or asks for them: in this process
/// ([`crate::server::Server`]) or behind a stream ([`Conn`]).
pub trait Peer {
    /// Queues a frame towards it. Never blocks; how much may be under way is
    /// the business of credits ([`isola_proto::frame::WINDOW`]).
    fn send(&mut self, frame: Frame);

    /// Adds the descriptors of interest for the next [`PollSet::wait`].
    fn register(&self, set: &mut PollSet);

    /// Does the work that the last wait found ready. Its errors are of the
    /// caller's own system (out of memory, of descriptors); that the other side
    /// went away is told by [`Peer::closed`].
    fn dispatch(&mut self, set: &PollSet) -> io::Result<()>;

    /// The next frame that came from it.
    fn next_frame(&mut self) -> Option<Frame>;

    /// The longest that the next wait may last.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Bytes queued towards it and not yet sent.
    fn backlog(&self) -> usize;

    /// Why no more will come from it or go to it, once that is so. Frames that
    /// came before are still to be had from [`Peer::next_frame`].
    fn closed(&self) -> Option<&str> {
        None
    }
}

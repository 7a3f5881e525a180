//! The device's side of vhost-user (QEMU, `docs/interop/vhost-user.rst`): which
//! memory the guest has and where its queues are.

mod backend;
mod queue;

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use vhost::vhost_user::{BackendReqHandler, Error as VhostError};

use crate::server::Server;
use backend::Backend;

/// Guest memory.
pub(crate) type Memory = vm_memory::GuestMemoryMmap<()>;

/// Most queues: the one for urgent requests and those for all others.
pub const MAX_QUEUES: usize = 17;
/// Largest size of a queue. Linux needs more descriptors than the largest transfer
/// has pages (256) to use it in full.
pub const QUEUE_SIZE: u16 = 1024;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine's program broke the protocol.
    #[error("vhost-user: {0}")]
    Protocol(VhostError),
}

/// Serves a machine over a connected socket until that closes.
///
/// # Errors
/// A message that makes no sense.
pub fn serve(server: Arc<Server>, socket: UnixStream) -> Result<(), Error> {
    let backend = Arc::new(Mutex::new(Backend::new(server.clone())));
    let mut messages = BackendReqHandler::from_stream(socket, backend);
    let end = loop {
        match messages.handle_request() {
            Ok(()) => {}
            Err(VhostError::Disconnected | VhostError::PartialMessage) => break Ok(()),
            Err(VhostError::SocketBroken(_)) => break Ok(()),
            // Refused requests were answered, or need no answer.
            Err(VhostError::ReqHandlerError(why)) => eprintln!("isola-fsd: vhost-user: {why}"),
            Err(other) => break Err(Error::Protocol(other)),
        }
    };
    server.end_waits();
    end
}

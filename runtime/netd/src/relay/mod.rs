//! Published ports that the kernel can't translate: from [::1], and from IPv6 to
//! an instance that has IPv4 only.

mod packet;
mod tcp;
mod udp;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use isola_net::daemon::{Protocol, Relay};
use rustix::net::SocketType;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::state::State;

/// Starts to relay a socket; ends with the set.
///
/// # Errors
/// The socket is not of the protocol, or not listening.
pub(crate) fn start(
    state: &Rc<State>,
    relays: &mut JoinSet<()>,
    relay: Relay,
    socket: OwnedFd,
) -> io::Result<()> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "not a socket of that protocol");
    rustix::io::ioctl_fionbio(&socket, true)?;
    let kind = socket_type(socket.as_fd())?;
    match relay.protocol {
        Protocol::Tcp => {
            if kind != SocketType::STREAM || !socket_acceptconn(&socket)? {
                return Err(wrong());
            }
            let listener = TcpListener::from_std(socket.into())?;
            relays.spawn_local(tcp::relay(Rc::clone(state), listener, relay.target));
        }
        Protocol::Udp => {
            if kind != SocketType::DGRAM {
                return Err(wrong());
            }
            packet::prepare(&socket)?;
            let socket = UdpSocket::from_std(socket.into())?;
            relays.spawn_local(udp::relay(Rc::clone(state), socket, relay.target));
        }
    }
    Ok(())
}

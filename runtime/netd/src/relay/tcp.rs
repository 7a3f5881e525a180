//! Connections.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::{
    set_socket_keepalive, set_socket_linger, set_tcp_keepidle, set_tcp_keepintvl,
};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::serve::BREATH;
use crate::state::State;

/// How long the target may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes under way in each direction.
const BUFFER: usize = 16 * 1024;
/// A peer that is silent so long is asked whether it lives.
const ALIVE: Duration = Duration::from_secs(60);

/// Relays all connections to a socket, for ever. When there are too many, the next
/// ones wait in the socket's queue.
pub(crate) async fn relay(state: Rc<State>, listener: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((connection, _)) => {
                // It is never closed.
                let Ok(permit) = Arc::clone(&state.relayed).acquire_owned().await else {
                    return;
                };
                connections.spawn_local(async move {
                    join(connection, target).await;
                    drop(permit);
                });
            }
            Err(_) => sleep(BREATH).await,
        }
    }
}

/// Passes bytes both ways until both sides have ended.
async fn join(mut near: TcpStream, target: SocketAddr) {
    let Ok(Ok(mut far)) = timeout(CONNECT, TcpStream::connect(target)).await else {
        // To the client it shall look as if nobody listened.
        let _ = set_socket_linger(&near, Some(Duration::ZERO));
        return;
    };
    for side in [&near, &far] {
        let _ = side.set_nodelay(true);
        let _ = set_socket_keepalive(side, true);
        let _ = set_tcp_keepidle(side, ALIVE);
        let _ = set_tcp_keepintvl(side, ALIVE / 4);
    }
    let copied = copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await;
    if copied.is_err() {
        // One side was reset; the other one shall not take it for an end.
        for side in [&near, &far] {
            let _ = set_socket_linger(side, Some(Duration::ZERO));
        }
    }
}

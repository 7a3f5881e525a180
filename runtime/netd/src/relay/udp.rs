//! Packets. A source has a socket of its own towards the target, so that answers
//! find back.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use super::packet::{self, Way};
use crate::forward::udp;
use crate::serve::BREATH;
use crate::state::State;

/// A session without a packet for so long ends.
const IDLE: Duration = Duration::from_secs(90);
/// Sessions of one socket. With one more, the one that was silent longest ends.
const SESSIONS: usize = 256;
/// Packets that are read before others get their turn.
const BURST: usize = 64;

struct Session {
    socket: UdpSocket,
    way: Way,
    seen: Cell<Instant>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Sessions {
    map: RefCell<HashMap<Way, (Rc<Session>, AbortHandle)>>,
}

/// Relays all packets to a socket, for ever.
pub(crate) async fn relay(state: Rc<State>, socket: UdpSocket, target: SocketAddr) {
    let socket = Rc::new(socket);
    let sessions = Rc::new(Sessions::default());
    let mut tasks = JoinSet::new();
    loop {
        let ready = tokio::select! {
            ready = socket.readable() => ready,
            Some(_) = tasks.join_next() => continue,
        };
        if ready.is_err() {
            sleep(BREATH).await;
            continue;
        }
        for _ in 0..BURST {
            // Room is made before, as its task needs the same buffer.
            let mut scratch = state.scratch.borrow_mut();
            let take = || packet::receive(&*socket, &mut scratch);
            let (size, way) = match socket.try_io(Interest::READABLE, take) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            let known = sessions.map.borrow().get(&way).map(|(s, _)| Rc::clone(s));
            let session = match known {
                Some(session) => session,
                None => match open(&state, &sessions, way, target) {
                    Some(session) => {
                        let back = answers(
                            Rc::clone(&state),
                            Rc::clone(&sessions),
                            Rc::clone(&session),
                            Rc::clone(&socket),
                        );
                        let task = tasks.spawn_local(back);
                        let entry = (Rc::clone(&session), task);
                        sessions.map.borrow_mut().insert(way, entry);
                        session
                    }
                    // Lost, as packets are.
                    None => continue,
                },
            };
            session.seen.set(Instant::now());
            send(&session.socket, &scratch[..size]);
        }
        tokio::task::yield_now().await;
    }
}

/// A socket is writable from its start, but the runtime has not heard of it yet.
fn send(socket: &UdpSocket, bytes: &[u8]) {
    // An error tells of an earlier packet (ICMP): this one may pass.
    for _ in 0..2 {
        if rustix::net::send(socket, bytes, rustix::net::SendFlags::empty()).is_ok() {
            return;
        }
    }
}

fn open(state: &State, sessions: &Sessions, way: Way, target: SocketAddr) -> Option<Rc<Session>> {
    let mut map = sessions.map.borrow_mut();
    if map.len() >= SESSIONS {
        let oldest = map
            .iter()
            .min_by_key(|(_, (session, _))| session.seen.get());
        let oldest = oldest.map(|(way, _)| *way)?;
        if let Some((_, task)) = map.remove(&oldest) {
            task.abort();
        }
    }
    let permit = Arc::clone(&state.relayed).try_acquire_owned().ok()?;
    let socket = udp(target).ok()?;
    rustix::net::connect(&socket, &target).ok()?;
    Some(Rc::new(Session {
        socket: UdpSocket::from_std(socket.into()).ok()?,
        way,
        seen: Cell::new(Instant::now()),
        _permit: permit,
    }))
}

/// Sends a target's packets back to the source, until the session is idle.
async fn answers(
    state: Rc<State>,
    sessions: Rc<Sessions>,
    session: Rc<Session>,
    near: Rc<UdpSocket>,
) {
    loop {
        let until = session.seen.get() + IDLE;
        match timeout_at(until, session.socket.readable()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(_) if session.seen.get() + IDLE <= Instant::now() => break,
            Err(_) => continue,
        }
        let mut scratch = state.scratch.borrow_mut();
        match session.socket.try_recv(&mut scratch) {
            Ok(size) => {
                session.seen.set(Instant::now());
                let send = || packet::answer(&*near, &scratch[..size], session.way);
                let _ = near.try_io(Interest::WRITABLE, send);
            }
            // Nobody listens at the target, yet.
            Err(_) => continue,
        }
    }
    sessions.map.borrow_mut().remove(&session.way);
}

//! Connections of members.

use std::cell::RefMut;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use isola_net::daemon::{
    Answer, Limits, MAX_MESSAGE, Relay, Request, VERSION, files, receive, send,
};
use rustix::fs::{AtFlags, FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::relay;
use crate::serve::BREATH;
use crate::state::State;
use crate::table::Id;
use crate::watch;

/// A starter that has not joined so long after the start does no more.
const FIRST: Duration = Duration::from_secs(10);
/// How long a connection may take to say what it wants.
const HELLO: Duration = Duration::from_secs(5);
/// Pause between two tries to take the lock.
const RETRY: Duration = Duration::from_millis(20);
/// Connections of members, and of what wants to be one.
const MOST: usize = 8_192;

/// The network's folder and what is in it.
pub(crate) struct Door {
    pub(crate) listener: OwnedFd,
    pub(crate) lock: OwnedFd,
    pub(crate) folder: OwnedFd,
}

/// Serves members until the last one has gone.
pub(crate) async fn serve(state: Rc<State>, door: Door) -> io::Result<()> {
    let listener = watch::readable(door.listener)?;
    let mut next: Id = 0;
    let mut patience = FIRST;
    loop {
        tokio::select! {
            ready = listener.readable() => {
                let mut ready = ready?;
                if !accept_all(&state, listener.get_ref(), &mut next).await {
                    ready.clear_ready();
                }
                continue;
            }
            () = state.deserted.notified() => {}
            () = sleep(patience), if state.live.get() == 0 => {}
        }
        if state.live.get() > 0 {
            continue;
        }
        // Under the lock nobody starts another process, and whoever came before is in
        // the queue. Later ones are refused and wait for the lock.
        patience = RETRY;
        match flock(&door.lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // Its holder is about to join us, or gives up.
            Err(Errno::WOULDBLOCK | Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        accept_all(&state, listener.get_ref(), &mut next).await;
        if state.live.get() == 0 {
            let _ = rustix::fs::unlinkat(&door.folder, files::SOCKET, AtFlags::empty());
            return Ok(());
        }
        flock(&door.lock, FlockOperation::Unlock)?;
        patience = FIRST;
    }
}

/// Takes all connections that wait; true when there may be more.
async fn accept_all(state: &Rc<State>, listener: &OwnedFd, next: &mut Id) -> bool {
    loop {
        if state.live.get() >= MOST {
            sleep(BREATH).await;
            return true;
        }
        match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(connection) => {
                *next += 1;
                let live = Live::new(state);
                spawn_local(attend(Rc::clone(state), connection, *next, live));
            }
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::WOULDBLOCK) => return false,
            Err(error) => {
                eprintln!("isola-netd: cannot accept a member: {error}");
                sleep(BREATH).await;
                return true;
            }
        }
    }
}

/// A connection counts as long as this is there.
struct Live(Rc<State>);

impl Live {
    fn new(state: &Rc<State>) -> Live {
        state.live.set(state.live.get() + 1);
        Live(Rc::clone(state))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.set(self.0.live.get() - 1);
        if self.0.live.get() == 0 {
            self.0.deserted.notify_one();
        }
    }
}

/// What a member has registered, until it is dropped.
struct Member {
    state: Rc<State>,
    id: Id,
    greeted: bool,
    /// One set for each message; they end when they are dropped.
    relays: Vec<JoinSet<()>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.state.table.borrow_mut().remove(self.id);
    }
}

async fn attend(state: Rc<State>, connection: OwnedFd, id: Id, _live: Live) {
    // Root, or whoever runs this process.
    let known = socket_peercred(&connection)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid());
    if !known {
        return;
    }
    let Ok(connection) = watch::readable(connection) else {
        return;
    };
    let mut member = Member {
        state: Rc::clone(&state),
        id,
        greeted: false,
        relays: Vec::new(),
    };
    loop {
        let incoming = message(&state, &connection);
        let incoming = if member.greeted {
            incoming.await
        } else {
            match timeout(HELLO, incoming).await {
                Ok(incoming) => incoming,
                Err(_) => return,
            }
        };
        let (answer, on) = match incoming {
            Ok(Some((request, fds))) => member.handle(request, fds),
            Ok(None) => return,
            Err(error) => (Answer::Error(format!("malformed message: {error}")), false),
        };
        // One that sends without taking answers is no member of ours.
        if send(&connection, &answer, &[]).is_err() || !on {
            return;
        }
    }
}

/// The next message and its descriptors.
async fn message(
    state: &State,
    connection: &AsyncFd<OwnedFd>,
) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
    loop {
        let mut ready = connection.readable().await?;
        let got = ready.try_io(|connection| {
            let scratch = state.scratch.borrow_mut();
            let mut buffer = RefMut::map(scratch, |all| &mut all[..MAX_MESSAGE]);
            let Some((bytes, fds)) = receive(connection, &mut buffer)? else {
                return Ok(None);
            };
            Ok(Some((serde_json::from_slice(bytes)?, fds)))
        });
        if let Ok(message) = got {
            return message;
        }
    }
}

impl Member {
    /// Answers a request; false ends the connection.
    fn handle(&mut self, request: Request, fds: Vec<OwnedFd>) -> (Answer, bool) {
        let done = match request {
            Request::Hello { version: VERSION } => {
                self.greeted = true;
                Ok(())
            }
            Request::Hello { version } => Err(format!(
                "it speaks version {VERSION}, not {version}; it goes with the network's last \
                 running instance"
            )),
            _ if !self.greeted => Err("no hello".into()),
            Request::Register(registration) => {
                let mut table = self.state.table.borrow_mut();
                table.insert(self.id, registration)
            }
            Request::Relays { replace, relays } => self.relay(replace, relays, fds),
        };
        match done {
            Ok(()) => (Answer::Ok, true),
            Err(why) => (Answer::Error(why), self.greeted),
        }
    }

    fn relay(
        &mut self,
        replace: bool,
        relays: Vec<Relay>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        if relays.len() != fds.len() {
            return Err(format!(
                "{} relays with {} descriptors",
                relays.len(),
                fds.len()
            ));
        }
        let kept: usize = match replace {
            true => 0,
            false => self.relays.iter().map(JoinSet::len).sum(),
        };
        if kept + relays.len() > Limits::RELAYS {
            return Err(format!("more than {} relays", Limits::RELAYS));
        }
        let mut added = JoinSet::new();
        for (relay, socket) in relays.into_iter().zip(fds) {
            relay::start(&self.state, &mut added, relay, socket)
                .map_err(|error| format!("cannot relay to {}: {error}", relay.target))?;
        }
        if replace {
            self.relays.clear();
        }
        self.relays.push(added);
        Ok(())
    }
}

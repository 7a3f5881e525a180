//! Sockets of the sandbox whose connections go out over the standard streams. The
//! process is inside the sandbox's root already.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use isola_proto::relay::{CONNECTIONS, opened, ready};
use isola_proto::spec::ListenSocket;
use isola_proto::{Failure, Kind};
use rustix::fs::{AtFlags, Gid, Mode, Uid, chmodat, chownat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};

use crate::capability::Sets;
use crate::error::Setup;
use crate::path::{Tree, clean, split};
use crate::root;
use crate::stream::{Conn, Peer, PollSet, Relay};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;
/// Bytes under way in either direction beyond which nothing more is read.
const UNDER_WAY: usize = 256 << 10;

/// A socket at a path that goes with it.
struct Listener {
    socket: OwnedFd,
    folder: OwnedFd,
    name: String,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = unlinkat(&self.folder, self.name.as_str(), AtFlags::empty());
    }
}

/// Makes the sockets and serves them until standard input ends.
pub(crate) fn serve(sockets: &[ListenSocket]) -> Result<(), Failure> {
    let root = root::open_current()?;
    let mut listeners = Vec::new();
    for wanted in sockets {
        let made = make(Tree(root.as_fd()), wanted);
        listeners.push(made.setup(|| format!("listen at '{}'", wanted.path))?);
    }
    // From here on it speaks with processes that are not trusted, and needs no rights.
    Sets::default().apply(false)?;
    let streams = [io::stdin().as_fd(), io::stdout().as_fd()].map(|stream| {
        stream
            .try_clone_to_owned()
            .setup(|| "use the streams".to_owned())
    });
    let [input, output] = streams;
    let conn = Conn::pair(input?, output?).setup(|| "use the streams".to_owned())?;
    pass(conn, &listeners).setup(|| "pass connections on".to_owned())
}

fn make(root: Tree<'_>, wanted: &ListenSocket) -> io::Result<Listener> {
    let path = clean(&wanted.path);
    let (parent, name) = split(&path);
    if name == "." {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let folder = root.make_dir(parent)?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // The folder that was found inside the root, whatever its path becomes.
    let address = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    bind(&socket, &SocketAddrUnix::new(address.as_str())?)?;
    let listener = Listener {
        socket,
        folder,
        name: name.to_owned(),
    };
    let (uid, gid) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
    chownat(
        &listener.folder,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    let mode = Mode::from_raw_mode(wanted.mode & 0o7777);
    chmodat(&listener.folder, name, mode, AtFlags::empty())?;
    listen(&listener.socket, BACKLOG)?;
    Ok(listener)
}

fn pass(mut conn: Conn, listeners: &[Listener]) -> io::Result<()> {
    let mut relay = Relay::new(Kind::Stdout);
    let mut set = PollSet::default();
    let mut next = 1_u32;
    conn.send(ready());
    while conn.closed().is_none() {
        set.clear();
        let room = UNDER_WAY.saturating_sub(conn.backlog());
        relay.register(&mut set, room > 0);
        // Nothing is read for clients that take nothing.
        let reads = relay.backlog() < UNDER_WAY;
        if reads || conn.backlog() > 0 {
            conn.register(&mut set);
        }
        if relay.len() < CONNECTIONS {
            for listener in listeners {
                set.add(listener.socket.as_fd(), true, false);
            }
        }
        set.wait(None)?;
        conn.dispatch(&set)?;
        while let Some(frame) = conn.next_frame() {
            relay.take(&frame);
        }
        for frame in relay.dispatch(&set, room) {
            conn.send(frame);
        }
        for (index, listener) in (0_u32..).zip(listeners) {
            if relay.len() < CONNECTIONS && set.readable(listener.socket.as_fd()) {
                match accept_with(&listener.socket, SocketFlags::CLOEXEC) {
                    Ok(client) => {
                        relay.add(next, client)?;
                        conn.send(opened(next, index));
                        next = next.checked_add(1).ok_or(Errno::OVERFLOW)?;
                    }
                    Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

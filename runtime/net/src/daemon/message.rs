//! What members and the process say to each other: JSON, one message per packet.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ipnet::IpNet;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Version of these messages. Both sides come from one build, but a process may
/// outlive an update of the programs.
pub const VERSION: u32 = 1;
/// Largest message in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Most descriptors in one message (the kernel's limit is 253: SCM_MAX_FD, unix(7)).
pub const MAX_FDS: usize = 64;

/// How many of each a member may register.
pub struct Limits;

impl Limits {
    /// Names, aliases included.
    pub const NAMES: usize = 256;
    /// Addresses.
    pub const ADDRESSES: usize = 16;
    /// Resolvers of its own.
    pub const RESOLVERS: usize = 8;
    /// Name servers of its other networks.
    pub const OTHERS: usize = 64;
    /// Listening sockets.
    pub const RELAYS: usize = 4096;
}

/// What the process is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetdConfig {
    /// The network's name: `NAME.NETWORK` means what `NAME` means.
    pub network: String,
    /// Addresses on which queries are answered, on port 53: the gateways. They need
    /// not be there yet (IP_FREEBIND, ip(7)).
    pub listen: Vec<IpAddr>,
    /// The network's subnets: reverse look-ups in them are never forwarded.
    pub subnets: Vec<IpNet>,
    /// Nothing is forwarded to resolvers, but for members that lead out elsewhere
    /// ([`Registration::outside`]).
    pub internal: bool,
    /// Where the host's resolvers are written, as resolv.conf(5) says. It is read
    /// again when it has changed.
    pub resolvers: PathBuf,
}

/// What a member is to the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The instance's id, for the log.
    pub instance: String,
    /// Names and aliases, case-insensitive, without the network's. The first is the
    /// answer to reverse look-ups. Several members may have the same.
    pub names: Vec<String>,
    /// Its addresses in this network. Queries are answered to members' addresses alone.
    pub addresses: Vec<IpAddr>,
    /// Resolvers for names that are no member's; empty means the host's.
    pub dns: Vec<IpAddr>,
    /// Name servers of its other networks, one for each, asked for names that are no
    /// member's before resolvers are. They are asked without "recursion desired" (RFC
    /// 1035, 4.1.1), which means: for your own members only.
    #[serde(default)]
    pub others: Vec<IpAddr>,
    /// One of its networks has a way out: resolvers are asked even if this one is
    /// internal.
    #[serde(default)]
    pub outside: bool,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A listening stream socket.
    Tcp,
    /// A bound datagram socket.
    Udp,
}

/// What becomes of connections or packets to a socket that comes with the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// The socket's protocol.
    pub protocol: Protocol,
    /// Where they are sent on.
    pub target: SocketAddr,
}

/// From a member. Each is answered with one [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The first message.
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// Names and addresses, in place of those that were registered before.
    Register(Registration),
    /// Relays, each with one descriptor in the same order, at most [`MAX_FDS`].
    Relays {
        /// In place of those that were there before, or besides them.
        replace: bool,
        /// What they are.
        relays: Vec<Relay>,
    },
}

/// From the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Ok,
    /// One line that says why not. The connection stays as it was, but for the hello.
    Error(String),
}

/// Sends one message.
///
/// # Errors
/// The message is over [`MAX_MESSAGE`] or [`MAX_FDS`] (`InvalidInput`), or what
/// sendmsg(2) says.
pub fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(&bytes)];
    loop {
        match sendmsg(&socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message and its descriptors; `None` at the connection's end.
///
/// # Errors
/// It was cut, because it is longer than `buffer` or has more than [`MAX_FDS`]
/// descriptors (`InvalidData`), or what recvmsg(2) says.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(&[u8], Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg(&socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(got) => break got,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            fds.extend(some);
        }
    }
    if got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((&buffer[..got.bytes], fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    }

    #[test]
    fn messages_and_descriptors_arrive_together() {
        let (ours, theirs) = pair();
        let file = tempfile::tempfile().unwrap();
        let request = Request::Relays {
            replace: true,
            relays: vec![Relay {
                protocol: Protocol::Tcp,
                target: "10.0.0.2:80".parse().unwrap(),
            }],
        };
        send(&ours, &request, &[file.as_fd()]).unwrap();
        send(&ours, &Request::Hello { version: 1 }, &[]).unwrap();
        let mut buffer = vec![0; MAX_MESSAGE];
        let (bytes, fds) = receive(&theirs, &mut buffer).unwrap().unwrap();
        assert_eq!(serde_json::from_slice::<Request>(bytes).unwrap(), request);
        assert_eq!(fds.len(), 1);
        let (bytes, fds) = receive(&theirs, &mut buffer).unwrap().unwrap();
        assert_eq!(bytes, br#"{"hello":{"version":1}}"#);
        assert!(fds.is_empty());
        drop(ours);
        assert!(receive(&theirs, &mut buffer).unwrap().is_none());
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let (ours, theirs) = pair();
        let long = "x".repeat(MAX_MESSAGE);
        let error = send(&ours, &Answer::Error(long), &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = send(&ours, &Answer::Ok, &[ours.as_fd(); MAX_FDS + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        // One that another program sent.
        rustix::net::send(&ours, &[b'x'; 100], SendFlags::empty()).unwrap();
        let error = receive(&theirs, &mut [0; 50]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

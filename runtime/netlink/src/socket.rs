//! A netlink socket that is used by one caller at a time.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::error::{Error, Refusal, Result};
use crate::message::{Message, Reply, replies};
use crate::namespace::in_namespace;

/// The kernel sends at most 32 KiB at once (`netlink_dump` in
/// net/netlink/af_netlink.c).
const BUFFER: usize = 64 * 1024;
/// Batches above this need a larger send buffer than the system's default.
const SMALL_BATCH: usize = 64 * 1024;
/// How often a listing is begun anew because the kernel's list changed meanwhile.
const TRIES: u32 = 20;

/// A socket of `NETLINK_ROUTE` or `NETLINK_NETFILTER`. It stays in the network
/// namespace in which it was made, wherever its user goes.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket for links, addresses and routes of the current network namespace.
    ///
    /// # Errors
    /// The system has no netlink or the limit of descriptors is reached.
    pub fn route() -> Result<Socket> {
        // NETLINK_ROUTE is protocol 0.
        let socket = Socket::open(None)?;
        // Without it the kernel ignores the filters of a listing (Linux 4.20);
        // whoever lists checks again, so an older kernel is only slower.
        socket.option(libc::NETLINK_GET_STRICT_CHK).ok();
        Ok(socket)
    }

    /// A socket for nf_tables of the current network namespace.
    ///
    /// # Errors
    /// As [`Socket::route`], and the kernel has no netfilter.
    pub fn netfilter() -> Result<Socket> {
        Socket::open(Some(netlink::NETFILTER))
    }

    /// As [`Socket::route`], for the network namespace behind a descriptor.
    ///
    /// # Errors
    /// As [`Socket::route`], or setns(2) refused.
    pub fn route_in(namespace: BorrowedFd<'_>) -> Result<Socket> {
        in_namespace(namespace, Socket::route)?
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> Result<Socket> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(|errno| Refusal::from(errno).of("open a netlink socket"))?;
        let socket = Socket {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER],
        };
        // Both are texts and sizes of errors only: Linux 4.12 and 4.13.
        socket.option(libc::NETLINK_EXT_ACK).ok();
        socket.option(libc::NETLINK_CAP_ACK).ok();
        Ok(socket)
    }

    fn option(&self, name: i32) -> std::result::Result<(), Errno> {
        set(self.fd.as_fd(), libc::SOL_NETLINK, name, 1)
    }

    /// Sends one request and waits for its acknowledgement.
    pub(crate) fn acknowledged(&mut self, message: Message) -> std::result::Result<(), Refusal> {
        let sequence = self.next();
        self.send(&message.finish(sequence, libc::NLM_F_ACK as u16))?;
        loop {
            let length = self.receive(RecvFlags::empty())?;
            for reply in replies(&self.buffer[..length]) {
                if reply.sequence == sequence && is_end(&reply) {
                    return reply.outcome();
                }
            }
        }
    }

    /// Sends a request that is answered by one message of type `kind`, and returns
    /// what `read` makes of its payload.
    pub(crate) fn one<T>(
        &mut self,
        message: Message,
        kind: u16,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> std::result::Result<Option<T>, Refusal> {
        let mut read = Some(read);
        let mut found = None;
        let sequence = self.next();
        self.send(&message.finish(sequence, libc::NLM_F_ACK as u16))?;
        loop {
            let length = self.receive(RecvFlags::empty())?;
            for reply in replies(&self.buffer[..length]) {
                if reply.sequence != sequence {
                    continue;
                }
                if is_end(&reply) {
                    reply.outcome()?;
                    return Ok(found);
                }
                if reply.kind == kind
                    && let Some(read) = read.take()
                {
                    found = read(reply.payload);
                }
            }
        }
    }

    /// Asks for one thing: what `read` makes of the answer of type `kind`.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn get<T>(
        &mut self,
        what: &str,
        message: Message,
        kind: u16,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        self.one(message, kind, read)
            .map_err(|refusal| refusal.of(format!("read {what}")))
    }

    /// Lists: every payload of type `kind` goes to `read`. A list that changed
    /// while it was read is read again.
    ///
    /// # Errors
    /// The kernel refused, or the list never kept still.
    pub fn list<T>(
        &mut self,
        what: &str,
        message: &Message,
        kind: u16,
        mut read: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        let what = format!("list {what}");
        for _ in 0..TRIES {
            match self.dump(message.clone(), kind, &mut read) {
                Ok(Some(all)) => return Ok(all),
                Ok(None) => {}
                Err(refusal) => return Err(refusal.of(what)),
            }
        }
        Err(Error::new(what, "the list changes faster than it is read"))
    }

    fn dump<T>(
        &mut self,
        message: Message,
        kind: u16,
        read: &mut impl FnMut(&[u8]) -> Option<T>,
    ) -> std::result::Result<Option<Vec<T>>, Refusal> {
        let mut all = Vec::new();
        let mut whole = true;
        let sequence = self.next();
        self.send(&message.finish(sequence, libc::NLM_F_DUMP as u16))?;
        loop {
            let length = self.receive(RecvFlags::empty())?;
            for reply in replies(&self.buffer[..length]) {
                if reply.sequence != sequence {
                    continue;
                }
                whole &= reply.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                if is_end(&reply) {
                    reply.outcome()?;
                    return Ok(whole.then_some(all));
                }
                if reply.kind == kind {
                    all.extend(read(reply.payload));
                }
            }
        }
    }

    /// Sends messages that the kernel carries out as one transaction or not at
    /// all. The first and the last are the batch's own begin and end, which are
    /// not acknowledged (nfnetlink before Linux 6.10 can't for the end).
    ///
    /// # Errors
    /// The first message that was refused; then nothing was changed.
    pub fn transaction(&mut self, what: &str, messages: Vec<Message>) -> Result<()> {
        let count = messages.len();
        self.batch(messages).map_err(|(at, refusal)| match at {
            Some(at) => refusal.of(format!("{what} (step {at} of {count})")),
            None => refusal.of(what),
        })
    }

    /// On a refusal also says which message it was, from 0 on.
    fn batch(&mut self, messages: Vec<Message>) -> std::result::Result<(), (Option<u32>, Refusal)> {
        let early = |errno: Errno| (None, Refusal::from(errno));
        let count = messages.len();
        let first = self.sequence.wrapping_add(1);
        let mut last = first;
        let mut bytes = Vec::new();
        for (at, message) in messages.into_iter().enumerate() {
            let sequence = self.next();
            let mut flags = 0;
            if at + 2 == count {
                flags = libc::NLM_F_ACK as u16;
                last = sequence;
            }
            bytes.extend(message.finish(sequence, flags));
        }
        if bytes.len() > SMALL_BATCH {
            // More than the default would be EMSGSIZE; CAP_NET_ADMIN, which
            // changing rules needs as well, may go over the system's limit.
            let size = i32::try_from(bytes.len() * 2).map_err(|_| early(Errno::MSGSIZE))?;
            set(
                self.fd.as_fd(),
                libc::SOL_SOCKET,
                libc::SO_SNDBUFFORCE,
                size,
            )
            .map_err(early)?;
        }
        self.send(&bytes).map_err(early)?;
        // All answers are there when send(2) returns: nfnetlink works in the
        // sender's context.
        let mut answered = false;
        let mut refused = None;
        loop {
            let length = match self.receive(RecvFlags::DONTWAIT) {
                Ok(length) => length,
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(early(errno)),
            };
            for reply in replies(&self.buffer[..length]) {
                let at = reply.sequence.wrapping_sub(first);
                if at >= count as u32 || !is_end(&reply) {
                    continue;
                }
                answered |= reply.sequence == last;
                if let Err(refusal) = reply.outcome() {
                    refused.get_or_insert((Some(at), refusal));
                }
            }
        }
        match refused {
            Some(refusal) => Err(refusal),
            None if answered => Ok(()),
            None => Err(early(Errno::PROTO)),
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> std::result::Result<(), Errno> {
        rustix::io::retry_on_intr(|| send(&self.fd, bytes, SendFlags::empty())).map(|_| ())
    }

    fn receive(&mut self, flags: RecvFlags) -> std::result::Result<usize, Errno> {
        let fd = &self.fd;
        let buffer = &mut self.buffer;
        rustix::io::retry_on_intr(|| recv(fd, &mut buffer[..], flags)).map(|(length, _)| length)
    }
}

fn is_end(reply: &Reply<'_>) -> bool {
    reply.kind == libc::NLMSG_ERROR as u16 || reply.kind == libc::NLMSG_DONE as u16
}

fn set(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> std::result::Result<(), Errno> {
    // SAFETY: value lives over the call and its size is given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()
        .raw_os_error()
        .map_or(Errno::INVAL, Errno::from_raw_os_error))
}

//! Guests' links: taps, which go with their last descriptor.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use isola_netlink::{LinkChange, Socket};

use crate::error::{Error, Kind, Result};

const DEVICE: &str = "/dev/net/tun";
/// The kernel numbers the name.
const NAME: &[u8] = b"isolat%d";
/// `struct virtio_net_hdr_v1` (linux/virtio_net.h), as virtio 1 has it.
static VNET_HEADER: libc::c_int = 12;

/// A tap without address on the host, a port of a bridge or of none.
#[derive(Debug)]
pub struct Tap {
    /// One descriptor per queue pair, non-blocking, close-on-exec. The link goes
    /// with the last of them.
    pub queues: Vec<OwnedFd>,
    /// Its number on the host.
    pub index: u32,
    /// Its name on the host.
    pub name: String,
}

impl Tap {
    /// Makes a tap with `queues` queue pairs (at least one): packets begin with a
    /// virtio-net header of 12 bytes. Offloads (TUNSETOFFLOAD) are set by whoever
    /// uses it. With a bridge it is up and its port; without, it is down: a spare.
    ///
    /// # Errors
    /// There is no /dev/net/tun, or the kernel refused.
    pub fn new(bridge: Option<u32>, queues: u16, mtu: Option<u32>) -> Result<Tap> {
        if queues == 0 {
            return Err(Error::new(Kind::Invalid, "a tap needs a queue"));
        }
        let mut request = Request::new(queues > 1);
        let mut descriptors = Vec::new();
        for _ in 0..queues {
            // The first gets the name; the others join it.
            descriptors.push(queue(&mut request)?);
        }
        let name = request.name();
        let mut socket = Socket::route()?;
        let link = socket.link(&name)?.ok_or_else(|| {
            Error::new(
                Kind::System,
                format!("the tap {name} went while it was made"),
            )
        })?;
        let tap = Tap {
            queues: descriptors,
            index: link.index,
            name,
        };
        if let Some(bridge) = bridge {
            connect(tap.index, bridge, mtu)?;
        }
        Ok(tap)
    }
}

/// Makes a tap a port of a bridge and brings it up.
///
/// # Errors
/// The kernel refused, as when one of them is gone.
pub fn connect(tap: u32, bridge: u32, mtu: Option<u32>) -> Result<()> {
    let change = LinkChange {
        up: Some(true),
        master: Some(bridge),
        mtu,
        ..LinkChange::default()
    };
    let mut socket = Socket::route()?;
    socket.set_link(tap, &change)?;
    crate::bridge::port(&mut socket, tap)
}

/// Takes a tap from its bridge and brings it down.
///
/// # Errors
/// The kernel refused.
pub fn disconnect(tap: u32) -> Result<()> {
    let change = LinkChange {
        up: Some(false),
        master: Some(0),
        ..LinkChange::default()
    };
    Ok(Socket::route()?.set_link(tap, &change)?)
}

/// `struct ifreq` as TUNSETIFF uses it (linux/if_tun.h).
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    _rest: [u8; 22],
}

impl Request {
    fn new(several: bool) -> Request {
        let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if several {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        let mut name = [0; libc::IFNAMSIZ];
        name[..NAME.len()].copy_from_slice(NAME);
        Request {
            name,
            flags: flags as libc::c_short,
            _rest: [0; 22],
        }
    }

    fn name(&self) -> String {
        let name = self.name.split(|byte| *byte == 0).next();
        String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
    }
}

fn queue(request: &mut Request) -> Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(DEVICE)
        .map_err(|error| Error::io("open", Path::new(DEVICE), error))?;
    let fd = file.as_raw_fd();
    // SAFETY: the request is a whole struct ifreq, which the kernel reads and in
    // which it writes the name.
    check(unsafe { libc::ioctl(fd, libc::TUNSETIFF, request as *mut Request) })?;
    // SAFETY: the kernel reads one int.
    check(unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ, &raw const VNET_HEADER) })?;
    Ok(file.into())
}

fn check(result: libc::c_int) -> Result<()> {
    if result < 0 {
        return Err(Error::system("make a tap", std::io::Error::last_os_error()));
    }
    Ok(())
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

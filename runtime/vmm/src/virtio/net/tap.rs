//! A queue of a tap device (Linux, Documentation/networking/tuntap.rst): what is
//! asked of the kernel, and how packets go through it.
//!
//! Every packet starts with the header of virtio (`IFF_VNET_HDR`), so that
//! checksums and large segments pass through as they are.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use vm_memory::VolatileSlice;

use super::HEADER;
use crate::sys;

/// Flags that the parent must have set, and one that it must not.
const NEEDED: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
/// What all kernels that are supported offload.
const BASIC: libc::c_uint =
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
/// Segmentation of UDP, Linux 6.2 and later.
const USO: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// One queue of a tap device.
#[derive(Debug)]
pub(crate) struct Tap {
    fd: OwnedFd,
}

/// What a tap device does for the guest beyond the basics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// It takes and gives UDP packets that are yet to be segmented.
    pub(crate) uso: bool,
}

impl Tap {
    /// Takes over a descriptor of a tap device: checks how it was made, makes it
    /// non-blocking and sets the length of the header. `many` says that it is one
    /// of several queues.
    ///
    /// # Errors
    /// It is no tap device, or one with other flags than the packets here have.
    pub(crate) fn new(fd: OwnedFd, many: bool) -> io::Result<Tap> {
        let tap = Tap { fd };
        // SAFETY: zeros are a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        tap.ioctl(libc::TUNGETIFF, (&raw mut request) as usize)?;
        // SAFETY: the kernel filled in the flags.
        let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }) & 0xffff;
        if flags & NEEDED != NEEDED {
            let why = "the tap device must have IFF_TAP, IFF_NO_PI and IFF_VNET_HDR";
            return Err(io::Error::other(why));
        }
        if many && flags & libc::IFF_MULTI_QUEUE == 0 {
            return Err(io::Error::other("the tap device has a single queue"));
        }
        rustix::io::ioctl_fionbio(&tap.fd, true)?;
        let length = HEADER as libc::c_int;
        tap.ioctl(libc::TUNSETVNETHDRSZ, (&raw const length) as usize)?;
        Ok(tap)
    }

    /// Anything that keeps packets apart, for tests.
    #[cfg(test)]
    pub(super) fn stand_in(fd: OwnedFd) -> Tap {
        rustix::io::ioctl_fionbio(&fd, true).unwrap();
        Tap { fd }
    }

    /// Finds out what the kernel can do, and has nothing offloaded afterwards.
    pub(crate) fn probe(&self) -> io::Result<Abilities> {
        let uso = self.offload(BASIC | USO).is_ok();
        self.offload(0)?;
        Ok(Abilities { uso })
    }

    /// Says what the reader of packets (the guest) does itself: `TUN_F_*`.
    pub(crate) fn offload(&self, flags: libc::c_uint) -> io::Result<()> {
        self.ioctl(libc::TUNSETOFFLOAD, flags as usize)
    }

    /// Takes the queue in among those that get packets, or out.
    pub(crate) fn attach(&self, attached: bool) -> io::Result<()> {
        // SAFETY: zeros are a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_ifru.ifru_flags = if attached {
            libc::IFF_ATTACH_QUEUE as libc::c_short
        } else {
            libc::IFF_DETACH_QUEUE as libc::c_short
        };
        self.ioctl(libc::TUNSETQUEUE, (&raw const request) as usize)
    }

    fn ioctl(&self, request: libc::Ioctl, argument: usize) -> io::Result<()> {
        // SAFETY: the argument is a number, or points to what this request reads or
        // writes and lives longer than the call. Other descriptors than tap devices
        // give ENOTTY: the requests' numbers are not used by anything else.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), request, argument) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Receives one packet into the slices; its length with the header.
    pub(super) fn receive(&self, slices: &[VolatileSlice<'_, ()>]) -> io::Result<usize> {
        sys::read_packet(self.fd.as_fd(), slices)
    }

    /// Sends the slices as one packet.
    pub(super) fn send(&self, slices: &[VolatileSlice<'_, ()>]) -> io::Result<usize> {
        sys::write_packet(self.fd.as_fd(), slices)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tap_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let error = Tap::new(file.into(), false).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        let (one, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        assert!(Tap::new(one.into(), false).is_err());
    }
}

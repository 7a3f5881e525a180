//! The network namespace as far as a sandbox needs it: the loopback device.

use std::os::fd::AsFd;

use isola_proto::Failure;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::error::Setup;
use crate::sys;

/// Brings up `lo`; the kernel gives it its addresses.
pub(crate) fn loopback_up() -> Result<(), Failure> {
    let what = || "bring up the loopback device".to_owned();
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .setup(what)?;
    sys::loopback_up(socket.as_fd()).setup(what)
}

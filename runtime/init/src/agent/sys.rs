//! System calls that no crate of ours wraps.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Most bytes of entropy that are taken at once.
pub(super) const ENTROPY: usize = 512;

/// `struct rand_pool_info` of linux/random.h.
#[repr(C)]
struct PoolInfo {
    /// Bits of entropy.
    bits: libc::c_int,
    /// Bytes in `bytes`.
    size: libc::c_int,
    bytes: [u8; ENTROPY],
}

/// Gives the kernel's random generator bytes that it may count on (random(4),
/// RNDADDENTROPY).
pub(super) fn add_entropy(entropy: &[u8]) -> io::Result<()> {
    /// `_IOW('R', 0x03, int [2])`.
    const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
    let random = File::options().write(true).open("/dev/urandom")?;
    let entropy = &entropy[..entropy.len().min(ENTROPY)];
    let mut info = PoolInfo {
        bits: entropy.len() as libc::c_int * 8,
        size: entropy.len() as libc::c_int,
        bytes: [0; ENTROPY],
    };
    info.bytes[..entropy.len()].copy_from_slice(entropy);
    // SAFETY: the kernel reads the two fields and `size` bytes behind them, all
    // of which lie in `info`.
    let done = unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY, &raw const info) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// kill(2) for every process but the caller.
pub(super) fn signal_all(signal: i32) {
    // SAFETY: plain integers.
    unsafe { libc::kill(-1, signal) };
}

//! Packets from the guest: written straight from its memory.

use std::io::ErrorKind;

use super::tap::Tap;
use super::{HEADER, MAX_PACKET};
use crate::memory::Memory;
use crate::sys::MAX_SLICES;
use crate::virtio::queue::Virtqueue;
use crate::virtio::{Broken, Work};

/// Sends what waits, as far as the tap device takes it; whether it takes no more.
/// The kernel checks the header; a packet that it refuses (a header that makes no
/// sense, a link that is down) is lost, as on a wire.
pub(super) fn turn(
    queue: &mut Virtqueue,
    tap: &Tap,
    memory: &Memory,
) -> Result<(Work, bool), Broken> {
    let mut blocked = false;
    let work = queue.drain(memory, |chain| {
        let packet = chain.readable();
        if packet.len() < HEADER {
            return Err(Broken::Chain("has no packet header"));
        }
        if packet.len() > MAX_PACKET || packet.pieces() > MAX_SLICES {
            return Ok(Some(0));
        }
        match tap.send(&packet.slices(memory, 0, packet.len())) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                blocked = true;
                Ok(None)
            }
            _ => Ok(Some(0)),
        }
    })?;
    Ok((work, blocked))
}

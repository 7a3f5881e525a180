//! Packets to the guest: read straight into its buffers.
//!
//! How long a packet is shows only when it was read. So the kernel gets the guest's
//! buffers for about as much as came lately, and behind them a buffer of ours for
//! the rest, which is copied. A packet that waits for buffers is the only one that
//! is held; all others stay in the tap device, whose queue has a limit.

use std::collections::VecDeque;

use vm_memory::VolatileSlice;

use super::features::Agreed;
use super::tap::Tap;
use super::{ETHERNET, HEADER, MAX_PACKET};
use crate::memory::Memory;
use crate::sys::MAX_SLICES;
use crate::virtio::Broken;
use crate::virtio::queue::{Chain, Virtqueue};

/// Packets that one turn takes at most.
const TURN: usize = 64;
/// Bytes that the guest's buffers are asked for at least.
const LEAST: usize = 4096;
/// Offset of `num_buffers` in the header.
const NUM_BUFFERS: usize = 10;

/// Why receiving paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// There is no packet. The tap device tells of the next.
    NoPacket,
    /// The guest has no room. The queue's bell was asked for.
    NoBuffers,
    /// The turn is over.
    Turn,
}

/// A packet that was read.
#[derive(Clone, Copy, Debug)]
struct Packet {
    /// Its length with the header.
    len: usize,
    /// So many of its bytes are in the guest's buffers, the others in ours.
    direct: usize,
}

/// The receiving half of a queue pair.
#[derive(Debug)]
pub(super) struct Receiver {
    queue: Virtqueue,
    agreed: Agreed,
    /// Buffers that were taken from the queue and not yet filled.
    chains: VecDeque<Chain>,
    /// Bytes of all of them.
    room: usize,
    /// For what does not fit.
    rest: Vec<u8>,
    packet: Option<Packet>,
    /// Bytes that the next packet is expected to have, at most.
    expected: usize,
}

impl Receiver {
    pub(super) fn new(queue: Virtqueue, agreed: Agreed) -> Receiver {
        Receiver {
            queue,
            agreed,
            chains: VecDeque::new(),
            room: 0,
            rest: vec![0; MAX_PACKET],
            packet: None,
            expected: LEAST,
        }
    }

    /// Gives the guest what has come; the pause's cause, and whether the guest wants
    /// an interrupt.
    pub(super) fn turn(&mut self, tap: &Tap, memory: &Memory) -> Result<(Pause, bool), Broken> {
        use virtio_queue::QueueT;
        let before = self.queue.ring.next_used();
        let pause = self.receive(tap, memory)?;
        let interrupt = self.queue.wants_interrupt_since(memory, before)?;
        Ok((pause, interrupt))
    }

    fn receive(&mut self, tap: &Tap, memory: &Memory) -> Result<Pause, Broken> {
        for _ in 0..TURN {
            if self.packet.is_none() {
                if !self.wait_for(1, memory)? {
                    return Ok(Pause::NoBuffers);
                }
                if !self.read(tap, memory)? {
                    return Ok(Pause::NoPacket);
                }
            }
            if !self.deliver(memory)? {
                return Ok(Pause::NoBuffers);
            }
        }
        Ok(Pause::Turn)
    }

    /// Takes buffers until there is room for so many bytes.
    fn fill(&mut self, wanted: usize, memory: &Memory) -> Result<bool, Broken> {
        while self.room < wanted && !self.is_full() {
            let Some(chain) = self.queue.pop(memory)? else {
                return Ok(false);
            };
            let len = chain.writable().len();
            if len < HEADER {
                return Err(Broken::Chain("has no room for a packet header"));
            }
            self.room += len;
            self.chains.push_back(chain);
        }
        Ok(self.room >= wanted)
    }

    /// As [`Receiver::fill`]; asks for the bell when there is too little.
    fn wait_for(&mut self, wanted: usize, memory: &Memory) -> Result<bool, Broken> {
        loop {
            if self.fill(wanted, memory)? {
                return Ok(true);
            }
            if self.is_full() || !self.queue.rearm(memory)? {
                return Ok(false);
            }
        }
    }

    /// Whether a driver that keeps to the rules has no more buffers.
    fn is_full(&self) -> bool {
        use virtio_queue::QueueT;
        self.chains.len() >= usize::from(self.queue.ring.size())
    }

    /// Reads a packet. False says that there is none; a packet that the guest can't
    /// take is dropped.
    fn read(&mut self, tap: &Tap, memory: &Memory) -> Result<bool, Broken> {
        let mergeable = self.agreed.mergeable;
        if mergeable {
            self.fill(self.expected, memory)?;
        }
        let mut slices: Vec<VolatileSlice<'_, ()>> = Vec::with_capacity(32);
        let mut direct = 0;
        for chain in &self.chains {
            let buffer = chain.writable();
            let enough = direct >= self.expected || !mergeable && direct > 0;
            // One slice is kept for the rest.
            if enough || slices.len() + buffer.pieces() >= MAX_SLICES {
                break;
            }
            buffer.add_slices(memory, 0, buffer.len(), &mut slices);
            direct += buffer.len();
        }
        slices.push(VolatileSlice::from(&mut self.rest[..]));
        // Errors are the tap device's end, or a packet that is lost: either way the
        // next one is told.
        let Ok(len @ 1..) = tap.receive(&slices) else {
            return Ok(false);
        };
        if (HEADER + ETHERNET..=MAX_PACKET).contains(&len) {
            let kept = self.expected - self.expected / 8;
            self.expected = len.max(kept).max(LEAST);
            self.packet = Some(Packet { len, direct });
        }
        Ok(true)
    }

    /// Gives the guest the packet that was read. False says that there are too few
    /// buffers yet.
    fn deliver(&mut self, memory: &Memory) -> Result<bool, Broken> {
        let Some(packet) = self.packet else {
            return Ok(true);
        };
        let fits = if self.agreed.mergeable {
            if !self.wait_for(packet.len, memory)? && !self.is_full() {
                return Ok(false);
            }
            self.room >= packet.len
        } else {
            let first = self.chains.front();
            first.is_some_and(|chain| chain.writable().len() >= packet.len)
        };
        self.packet = None;
        if fits {
            self.copy_rest(packet, memory);
            self.finish(packet, memory)?;
        }
        Ok(true)
    }

    fn copy_rest(&self, packet: Packet, memory: &Memory) {
        let Some(len) = packet.len.checked_sub(packet.direct) else {
            return;
        };
        let mut rest = &self.rest[..len];
        let mut offset = packet.direct;
        for chain in &self.chains {
            let buffer = chain.writable();
            if rest.is_empty() {
                break;
            }
            if offset >= buffer.len() {
                offset -= buffer.len();
                continue;
            }
            let done = buffer.write(memory, offset, rest);
            (rest, offset) = (&rest[done..], 0);
        }
    }

    /// Completes the header and returns the buffers, all at once: a driver that saw
    /// the first of them takes the others for granted.
    fn finish(&mut self, packet: Packet, memory: &Memory) -> Result<(), Broken> {
        let mut left = packet.len;
        let filled: Vec<usize> = self
            .chains
            .iter()
            .map_while(|chain| {
                let here = left.min(chain.writable().len());
                left -= here;
                (here > 0).then_some(here)
            })
            .collect();
        let Some(first) = self.chains.front().map(Chain::writable) else {
            return Ok(());
        };
        let mut start = [0; 2];
        first.read(memory, 0, &mut start);
        let Some(flags) = self.agreed.admit(start) else {
            return Ok(());
        };
        let count = (filled.len() as u16).to_le_bytes();
        first.write(memory, 0, &[flags]);
        first.write(memory, NUM_BUFFERS, &count);
        let buffers = self.chains.iter().zip(filled.iter().copied());
        self.queue.push_all(memory, buffers)?;
        for chain in self.chains.drain(..filled.len()) {
            self.room -= chain.writable().len();
        }
        Ok(())
    }
}

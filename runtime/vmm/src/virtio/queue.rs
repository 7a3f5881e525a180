//! Queues and descriptor chains, checked.

use std::sync::atomic::{Ordering, fence};

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use super::{Broken, Work};
use crate::memory::Memory;

/// Most descriptors of a chain, indirect ones included. The specification allows
/// no more than the queue's size.
const MAX_DESCRIPTORS: usize = 1024;

/// A range of guest memory that was found to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    address: u64,
    len: usize,
}

/// A descriptor chain: everything that the device reads, then everything that it
/// writes. All of it lies in memory.
#[derive(Debug)]
pub(crate) struct Chain {
    head: u16,
    readable: Buffer,
    writable: Buffer,
}

/// One side of a chain.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    ranges: Vec<Range>,
    len: usize,
}

/// A split virtqueue.
#[derive(Debug)]
pub(crate) struct Virtqueue {
    /// Where the transport puts what the driver configures.
    pub(crate) ring: Queue,
}

impl Virtqueue {
    /// A queue of at most `size` descriptors, a power of two.
    pub(crate) fn new(size: u16) -> Result<Virtqueue, virtio_queue::Error> {
        Ok(Virtqueue {
            ring: Queue::new(size)?,
        })
    }

    /// Takes the next chain.
    pub(crate) fn pop(&mut self, memory: &Memory) -> Result<Option<Chain>, Broken> {
        let mut available = self
            .ring
            .iter(memory)
            .map_err(|error| Broken::Ring(error.to_string()))?;
        match available.next() {
            Some(chain) => Chain::check(chain, memory).map(Some),
            None => Ok(None),
        }
    }

    /// Puts the chain that was taken last back.
    pub(crate) fn undo_pop(&mut self) {
        self.ring.go_to_previous_position();
    }

    /// Returns a chain of which the first `written` writable bytes were filled.
    pub(crate) fn push(
        &mut self,
        memory: &Memory,
        chain: &Chain,
        written: usize,
    ) -> Result<(), Broken> {
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        self.ring
            .add_used(memory, chain.head, written)
            .map_err(|error| Broken::Ring(error.to_string()))
    }

    /// Returns several chains at once: the driver sees all of them or none. Each
    /// comes with the number of bytes written to it.
    pub(crate) fn push_all<'a>(
        &mut self,
        memory: &Memory,
        chains: impl Iterator<Item = (&'a Chain, usize)>,
    ) -> Result<(), Broken> {
        let failed = |error: vm_memory::GuestMemoryError| Broken::Ring(error.to_string());
        let (used, size) = (self.ring.used_ring(), self.ring.size());
        let mut next = self.ring.next_used();
        for (chain, written) in chains {
            let written = u32::try_from(written).unwrap_or(u32::MAX);
            let place = used + 4 + 8 * u64::from(next % size);
            let element = u64::from(written) << 32 | u64::from(chain.head);
            memory
                .write_obj(element.to_le(), GuestAddress(place))
                .map_err(failed)?;
            next = next.wrapping_add(1);
        }
        self.ring.set_next_used(next);
        memory
            .store(next.to_le(), GuestAddress(used + 2), Ordering::Release)
            .map_err(failed)
    }

    /// Whether the driver wants an interrupt for what [`Virtqueue::push_all`] returned
    /// since the index of used chains was `before` (virtio 1.2, section 2.7.7).
    pub(crate) fn wants_interrupt_since(
        &self,
        memory: &Memory,
        before: u16,
    ) -> Result<bool, Broken> {
        const NO_INTERRUPT: u16 = virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT as u16;
        let (available, now) = (self.ring.avail_ring(), self.ring.next_used());
        if now == before {
            return Ok(false);
        }
        fence(Ordering::SeqCst);
        let look = |at: u64| -> Result<u16, Broken> {
            memory
                .load(GuestAddress(at), Ordering::Relaxed)
                .map(u16::from_le)
                .map_err(|error| Broken::Ring(error.to_string()))
        };
        if !self.ring.event_idx_enabled() {
            return Ok(look(available)? & NO_INTERRUPT == 0);
        }
        let event = look(available + 4 + 2 * u64::from(self.ring.size()))?;
        Ok(now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before))
    }

    /// A queue with the same place and state, for a thread of its own.
    pub(crate) fn copy(&self) -> Result<Virtqueue, virtio_queue::Error> {
        Ok(Virtqueue {
            ring: Queue::try_from(self.ring.state())?,
        })
    }

    /// Whether the driver wants an interrupt for what was returned since the last
    /// call.
    fn wants_interrupt(&mut self, memory: &Memory) -> Result<bool, Broken> {
        self.ring
            .needs_notification(memory)
            .map_err(|error| Broken::Ring(error.to_string()))
    }

    /// Asks for the next bell; whether chains came in the meantime.
    pub(crate) fn rearm(&mut self, memory: &Memory) -> Result<bool, Broken> {
        self.ring
            .enable_notification(memory)
            .map_err(|error| Broken::Ring(error.to_string()))
    }

    /// Calls `handle` for every available chain; it gives the number of bytes that
    /// it wrote, or `None` to leave that chain and all that follow in the queue.
    /// One call handles each descriptor of the queue at most once, so that a driver
    /// that adds chains as fast as they go can't hold a thread here.
    pub(crate) fn drain(
        &mut self,
        memory: &Memory,
        mut handle: impl FnMut(&Chain) -> Result<Option<usize>, Broken>,
    ) -> Result<Work, Broken> {
        let mut returned = false;
        let mut left = self.ring.size();
        let more = loop {
            if left == 0 {
                break true;
            }
            let Some(chain) = self.pop(memory)? else {
                if self.rearm(memory)? {
                    continue;
                }
                break false;
            };
            left -= 1;
            match handle(&chain)? {
                Some(written) => self.push(memory, &chain, written)?,
                None => {
                    self.undo_pop();
                    break false;
                }
            }
            returned = true;
        };
        Ok(Work {
            interrupt: returned && self.wants_interrupt(memory)?,
            more,
        })
    }
}

impl Chain {
    fn check<M>(
        mut chain: virtio_queue::DescriptorChain<M>,
        memory: &Memory,
    ) -> Result<Chain, Broken>
    where
        M: std::ops::Deref<Target = Memory>,
    {
        let mut checked = Chain {
            head: chain.head_index(),
            readable: Buffer::default(),
            writable: Buffer::default(),
        };
        let (mut count, mut last_has_next) = (0, true);
        for descriptor in chain.by_ref() {
            count += 1;
            if count > MAX_DESCRIPTORS {
                return Err(Broken::Chain("is too long"));
            }
            last_has_next = descriptor.has_next();
            let range = Range {
                address: descriptor.addr().0,
                len: descriptor.len() as usize,
            };
            if range.len > 0 && memory.get_slice(descriptor.addr(), range.len).is_err() {
                return Err(Broken::Chain("leads out of memory"));
            }
            let buffer = if descriptor.is_write_only() {
                &mut checked.writable
            } else if checked.writable.len > 0 {
                return Err(Broken::Chain("has a readable buffer behind a writable one"));
            } else {
                &mut checked.readable
            };
            if range.len > 0 {
                buffer.len += range.len;
                buffer.ranges.push(range);
            }
        }
        // The iterator ends quietly at a loop, at an index out of range, at a table
        // out of memory, and at nested tables: the chain then has no end.
        if last_has_next {
            Err(Broken::Chain("has no end"))
        } else {
            Ok(checked)
        }
    }

    /// What the device reads.
    pub(crate) fn readable(&self) -> &Buffer {
        &self.readable
    }

    /// What the device writes.
    pub(crate) fn writable(&self) -> &Buffer {
        &self.writable
    }
}

impl Buffer {
    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The pieces of memory that make up `len` bytes from `offset` on; fewer if the
    /// buffer ends before.
    pub(crate) fn slices<'m>(
        &self,
        memory: &'m Memory,
        offset: usize,
        len: usize,
    ) -> Vec<VolatileSlice<'m, ()>> {
        let mut slices = Vec::new();
        self.add_slices(memory, offset, len, &mut slices);
        slices
    }

    /// As [`Buffer::slices`], behind those that are there.
    pub(crate) fn add_slices<'m>(
        &self,
        memory: &'m Memory,
        mut offset: usize,
        mut len: usize,
        slices: &mut Vec<VolatileSlice<'m, ()>>,
    ) {
        for range in &self.ranges {
            if len == 0 {
                break;
            }
            if offset >= range.len {
                offset -= range.len;
                continue;
            }
            let here = (range.len - offset).min(len);
            // The range was checked when the chain was taken; memory does not go away.
            if let Ok(slice) = memory.get_slice(GuestAddress(range.address + offset as u64), here) {
                slices.push(slice);
            }
            len -= here;
            offset = 0;
        }
    }

    /// Number of pieces of memory.
    pub(crate) fn pieces(&self) -> usize {
        self.ranges.len()
    }

    /// Copies bytes from `offset` on out of the buffer; the number of bytes.
    pub(crate) fn read(&self, memory: &Memory, offset: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in self.slices(memory, offset, out.len()) {
            done += slice.copy_to(&mut out[done..]);
        }
        done
    }

    /// Copies bytes to `offset` of the buffer; the number of bytes.
    pub(crate) fn write(&self, memory: &Memory, offset: usize, bytes: &[u8]) -> usize {
        let mut done = 0;
        for slice in self.slices(memory, offset, bytes.len()) {
            slice.copy_from(&bytes[done..]);
            done += slice.len();
        }
        done
    }

    /// Fills `len` bytes from `offset` on with zeros.
    pub(crate) fn write_zeros(&self, memory: &Memory, offset: usize, len: usize) {
        const ZEROS: [u8; 4096] = [0; 4096];
        for slice in self.slices(memory, offset, len) {
            let mut done = 0;
            while done < slice.len() {
                let here = (slice.len() - done).min(ZEROS.len());
                if let Ok(part) = slice.subslice(done, here) {
                    part.copy_from(&ZEROS[..here]);
                }
                done += here;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;

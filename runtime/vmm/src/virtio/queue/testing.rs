//! A driver's half of a queue, for tests of devices without a machine.

use std::collections::HashMap;

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress};

use super::Virtqueue;
use crate::memory::{self, Memory};
use crate::virtio::{Broken, COMMON_FEATURES, Device, Work};

/// Memory of the guest in tests, in bytes.
pub(crate) const MEMORY: u64 = 4 << 20;
/// Queues lie below this; buffers of tests lie above.
pub(crate) const QUEUES_END: u64 = 0x1_0000;

/// A buffer of a chain: address, length, flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) flags: u16,
}

/// A buffer that the device reads.
pub(crate) fn r(address: u64, len: u32) -> Part {
    Part {
        address,
        len,
        flags: 0,
    }
}

/// A buffer that the device writes.
pub(crate) fn w(address: u64, len: u32) -> Part {
    Part {
        address,
        len,
        flags: VRING_DESC_F_WRITE as u16,
    }
}

/// A table of further descriptors.
pub(crate) fn indirect(address: u64, len: u32) -> Part {
    Part {
        address,
        len,
        flags: VRING_DESC_F_INDIRECT as u16,
    }
}

/// A device with its queues in memory.
pub(crate) struct Harness<D> {
    pub(crate) device: D,
    pub(crate) memory: Memory,
    pub(crate) queues: Vec<Virtqueue>,
    next: HashMap<usize, u16>,
    seen: HashMap<usize, u16>,
}

impl<D: Device> Harness<D> {
    pub(crate) fn new(mut device: D, sizes: &[u16]) -> Harness<D> {
        let memory = memory::allocate(MEMORY, false).unwrap();
        let queues: Vec<Virtqueue> = (0u64..)
            .zip(sizes)
            .map(|(index, size)| new_queue(index, *size))
            .collect();
        device.activate(device.features() | COMMON_FEATURES, &queues);
        Harness {
            device,
            memory,
            queues,
            next: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    /// Writes one descriptor.
    pub(crate) fn descriptor(&self, queue: usize, index: u16, part: Part, next: Option<u16>) {
        let table = self.queues[queue].ring.desc_table();
        put_descriptor(&self.memory, table + 16 * u64::from(index), part, next);
    }

    /// Makes the chain that starts at `head` available.
    pub(crate) fn offer(&mut self, queue: usize, head: u16) {
        let ring = &self.queues[queue].ring;
        let available = ring.avail_ring();
        let index: u16 = self.memory.read_obj(GuestAddress(available + 2)).unwrap();
        let place = available + 4 + 2 * u64::from(index % ring.size());
        self.memory.write_obj(head, GuestAddress(place)).unwrap();
        self.memory
            .write_obj(index.wrapping_add(1), GuestAddress(available + 2))
            .unwrap();
    }

    /// Builds a chain from the next free descriptors and makes it available; the
    /// index of its head.
    pub(crate) fn add(&mut self, queue: usize, parts: &[Part]) -> u16 {
        let size = self.queues[queue].ring.size();
        let next = self.next.entry(queue).or_default();
        let head = *next;
        *next = (*next + parts.len() as u16) % size;
        for (place, part) in (0u16..).zip(parts) {
            let following =
                (usize::from(place) + 1 < parts.len()).then(|| (head + place + 1) % size);
            self.descriptor(queue, (head + place) % size, *part, following);
        }
        self.offer(queue, head);
        head
    }

    pub(crate) fn kick(&mut self, queue: usize) -> Result<Work, Broken> {
        self.device.process(queue, &mut self.queues, &self.memory)
    }

    /// What came back since the last call: head and number of bytes.
    pub(crate) fn used(&mut self, queue: usize) -> Vec<(u32, u32)> {
        let ring = &self.queues[queue].ring;
        let used = ring.used_ring();
        let index: u16 = self.memory.read_obj(GuestAddress(used + 2)).unwrap();
        let seen = self.seen.entry(queue).or_default();
        let mut elements = Vec::new();
        while *seen != index {
            let place = used + 4 + 8 * u64::from(*seen % ring.size());
            let id: u32 = self.memory.read_obj(GuestAddress(place)).unwrap();
            let len: u32 = self.memory.read_obj(GuestAddress(place + 4)).unwrap();
            elements.push((id, len));
            *seen = seen.wrapping_add(1);
        }
        elements
    }

    pub(crate) fn put(&self, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
    }

    pub(crate) fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(address))
            .unwrap();
        bytes
    }
}

/// Writes a descriptor anywhere.
pub(crate) fn put_descriptor(memory: &Memory, address: u64, part: Part, next: Option<u16>) {
    let flags = part.flags
        | if next.is_some() {
            VRING_DESC_F_NEXT as u16
        } else {
            0
        };
    memory
        .write_obj(part.address, GuestAddress(address))
        .unwrap();
    memory
        .write_obj(part.len, GuestAddress(address + 8))
        .unwrap();
    memory.write_obj(flags, GuestAddress(address + 12)).unwrap();
    memory
        .write_obj(next.unwrap_or(0), GuestAddress(address + 14))
        .unwrap();
}

fn new_queue(index: u64, size: u16) -> Virtqueue {
    let base = 0x1000 + index as u32 * 0x4000;
    let mut queue = Virtqueue::new(size).unwrap();
    queue.ring.set_desc_table_address(Some(base), Some(0));
    queue
        .ring
        .set_avail_ring_address(Some(base + 0x2000), Some(0));
    queue
        .ring
        .set_used_ring_address(Some(base + 0x3000), Some(0));
    queue.ring.set_event_idx(true);
    queue.ring.set_ready(true);
    queue
}

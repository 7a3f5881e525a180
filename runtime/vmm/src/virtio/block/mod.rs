//! Block device (virtio 1.2, section 5.2) over a list of extents.

mod extents;
mod request;

use virtio_bindings::virtio_blk as spec;
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

use super::queue::Virtqueue;
use super::{Broken, COMMON_FEATURES, Device, Work};
use crate::config::SECTOR;
use crate::memory::Memory;

pub(crate) use extents::{Extent, Extents};

const QUEUE_SIZE: u16 = 256;
/// Data descriptors of one request: the queue's size less header and status.
const MAX_SEGMENTS: u32 = QUEUE_SIZE as u32 - 2;
/// Ranges in one discard request.
const MAX_RANGES: u32 = 64;
/// Bytes of the configuration space.
const CONFIG_LEN: usize = 60;

/// A disk. What can be saved is in its configuration and in the files.
#[derive(Debug)]
pub(crate) struct Block {
    extents: Extents,
    readonly: bool,
    serial: [u8; 20],
    config: [u8; CONFIG_LEN],
    /// The driver does not flush: every write must reach the file at once.
    write_through: bool,
}

impl Block {
    /// A disk with this content. `serial` is cut after 20 bytes.
    pub(crate) fn new(extents: Extents, readonly: bool, serial: &str) -> Block {
        let mut name = [0; 20];
        name.iter_mut()
            .zip(serial.bytes())
            .for_each(|(to, from)| *to = from);
        let config = config(extents.len() / SECTOR);
        Block {
            extents,
            readonly,
            serial: name,
            config,
            write_through: true,
        }
    }

    fn sectors(&self) -> u64 {
        self.extents.len() / SECTOR
    }
}

/// `struct virtio_blk_config`.
fn config(sectors: u64) -> [u8; CONFIG_LEN] {
    let mut bytes = [0; CONFIG_LEN];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    // Discarded ranges become holes of whole blocks; any alignment is accepted.
    let max_sectors = u32::try_from(sectors).unwrap_or(u32::MAX);
    put(0, &sectors.to_le_bytes());
    put(12, &MAX_SEGMENTS.to_le_bytes());
    put(20, &(SECTOR as u32).to_le_bytes());
    put(36, &max_sectors.to_le_bytes());
    put(40, &MAX_RANGES.to_le_bytes());
    put(44, &8u32.to_le_bytes());
    put(48, &max_sectors.to_le_bytes());
    put(52, &MAX_RANGES.to_le_bytes());
    put(56, &[1]);
    bytes
}

impl Device for Block {
    fn name(&self) -> String {
        let serial = String::from_utf8_lossy(&self.serial);
        format!("disk {:?}", serial.trim_end_matches('\0'))
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let common =
            COMMON_FEATURES | 1 << spec::VIRTIO_BLK_F_SEG_MAX | 1 << spec::VIRTIO_BLK_F_BLK_SIZE;
        if self.readonly {
            common | 1 << spec::VIRTIO_BLK_F_RO
        } else {
            common
                | 1 << spec::VIRTIO_BLK_F_FLUSH
                | 1 << spec::VIRTIO_BLK_F_DISCARD
                | 1 << spec::VIRTIO_BLK_F_WRITE_ZEROES
        }
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, features: u64, _queues: &[Virtqueue]) {
        self.write_through = !self.readonly && features >> spec::VIRTIO_BLK_F_FLUSH & 1 == 0;
    }

    fn reset(&mut self) {
        self.write_through = true;
    }

    fn process(
        &mut self,
        queue: usize,
        queues: &mut [Virtqueue],
        memory: &Memory,
    ) -> Result<Work, Broken> {
        queues[queue].drain(memory, |chain| self.request(chain, memory).map(Some))
    }
}

#[cfg(test)]
mod tests;

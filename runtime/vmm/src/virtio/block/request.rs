//! One request: a header, data, and a status byte at the end.

use std::io;

use virtio_bindings::virtio_blk as spec;

use super::{Block, MAX_RANGES};
use crate::config::SECTOR;
use crate::memory::Memory;
use crate::virtio::Broken;
use crate::virtio::queue::Chain;

/// Bytes of `struct virtio_blk_outhdr`.
const HEADER: usize = 16;
/// Bytes of `struct virtio_blk_discard_write_zeroes`.
const RANGE: usize = 16;
/// Flag of a range: it may become a hole.
const UNMAP: u32 = 1;

/// Why a request fails; the guest sees only which kind.
enum Failure {
    /// Not known to this device.
    Unsupported,
    /// Out of the disk, read-only, or the file gave an error.
    Io,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Io
    }
}

impl Block {
    /// Carries a request out; the number of bytes written to the chain, status
    /// included.
    pub(super) fn request(&mut self, chain: &Chain, memory: &Memory) -> Result<usize, Broken> {
        let mut header = [0; HEADER];
        if chain.readable().read(memory, 0, &mut header) < HEADER {
            return Err(Broken::Chain("has no room for a request header"));
        }
        let Some(status_at) = chain.writable().len().checked_sub(1) else {
            return Err(Broken::Chain("has no room for a status"));
        };
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let kind = u32::from_le_bytes([k0, k1, k2, k3]);
        let sector = u64::from_le_bytes(sector);
        let (status, written) = match self.carry_out(kind, sector, chain, memory, status_at) {
            Ok(written) => (spec::VIRTIO_BLK_S_OK, written),
            Err(Failure::Io) => (spec::VIRTIO_BLK_S_IOERR, 0),
            Err(Failure::Unsupported) => (spec::VIRTIO_BLK_S_UNSUPP, 0),
        };
        chain.writable().write(memory, status_at, &[status as u8]);
        // The status lies behind the room for data, so all before it counts as written.
        Ok(if written == status_at { written + 1 } else { 1 })
    }

    fn carry_out(
        &mut self,
        kind: u32,
        sector: u64,
        chain: &Chain,
        memory: &Memory,
        room: usize,
    ) -> Result<usize, Failure> {
        match kind {
            spec::VIRTIO_BLK_T_IN => {
                let offset = self.check(sector, room as u64)?;
                self.extents.read(memory, chain.writable(), room, offset)?;
                Ok(room)
            }
            spec::VIRTIO_BLK_T_OUT => {
                self.check_writable()?;
                let len = chain.readable().len() - HEADER;
                let offset = self.check(sector, len as u64)?;
                self.extents
                    .write(memory, chain.readable(), HEADER, len, offset)?;
                if self.write_through {
                    self.extents.sync()?;
                }
                Ok(0)
            }
            spec::VIRTIO_BLK_T_FLUSH => {
                self.extents.sync()?;
                Ok(0)
            }
            spec::VIRTIO_BLK_T_GET_ID => {
                let len = room.min(self.serial.len());
                Ok(chain.writable().write(memory, 0, &self.serial[..len]))
            }
            spec::VIRTIO_BLK_T_DISCARD | spec::VIRTIO_BLK_T_WRITE_ZEROES => {
                self.check_writable()?;
                self.zero_ranges(kind == spec::VIRTIO_BLK_T_DISCARD, chain, memory)?;
                Ok(0)
            }
            _ => Err(Failure::Unsupported),
        }
    }

    fn check_writable(&self) -> Result<(), Failure> {
        if self.readonly {
            Err(Failure::Io)
        } else {
            Ok(())
        }
    }

    /// The byte offset of a sector from which `len` bytes lie on the disk.
    fn check(&self, sector: u64, len: u64) -> Result<u64, Failure> {
        let sectors = len / SECTOR;
        let end = sector.checked_add(sectors).ok_or(Failure::Io)?;
        if !len.is_multiple_of(SECTOR) || end > self.sectors() {
            return Err(Failure::Io);
        }
        Ok(sector * SECTOR)
    }

    fn zero_ranges(
        &mut self,
        discard: bool,
        chain: &Chain,
        memory: &Memory,
    ) -> Result<(), Failure> {
        let len = chain.readable().len() - HEADER;
        let count = len / RANGE;
        if count == 0 || !len.is_multiple_of(RANGE) || count > MAX_RANGES as usize {
            return Err(Failure::Io);
        }
        for index in 0..count {
            let mut range = [0; RANGE];
            chain
                .readable()
                .read(memory, HEADER + index * RANGE, &mut range);
            let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = range;
            let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let len = u64::from(u32::from_le_bytes([n0, n1, n2, n3])) * SECTOR;
            let flags = u32::from_le_bytes(flags);
            if flags & !UNMAP != 0 || discard && flags != 0 {
                return Err(Failure::Unsupported);
            }
            let offset = self.check(sector, len)?;
            self.extents
                .zero(offset, len, discard || flags & UNMAP != 0)?;
        }
        if self.write_through {
            self.extents.sync()?;
        }
        Ok(())
    }
}

//! Devices of the PC, and the way from an address to a device.

pub(crate) mod console;
pub(crate) mod power;

use std::sync::Arc;

use crate::layout;
use crate::outcome::Report;
use console::Console;
use power::Power;

/// Registers in memory. Called from vCPU threads.
pub(crate) trait Registers: Send + Sync {
    /// Reads at `offset` within the device.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// Writes at `offset` within the device.
    fn write(&self, offset: u64, data: &[u8]);
}

/// All devices by address.
pub(crate) struct Bus {
    pub(crate) console: Arc<Console>,
    pub(crate) power: Arc<Power>,
    /// Devices in their slots, from the first on.
    pub(crate) virtio: Vec<Arc<dyn Registers>>,
}

impl Bus {
    /// Reads a port. What no device answers reads as ones.
    pub(crate) fn port_read(&self, port: u16, data: &mut [u8]) {
        match serial_offset(port) {
            // Several bytes are a string instruction: the register is read again and again.
            Some(offset) => data
                .iter_mut()
                .for_each(|byte| *byte = self.console.read(offset)),
            None => data
                .iter_mut()
                .for_each(|byte| *byte = self.power.read(port).unwrap_or(0xff)),
        }
    }

    /// Writes a port; a report if that ends the machine.
    pub(crate) fn port_write(&self, port: u16, data: &[u8]) -> Option<Report> {
        match serial_offset(port) {
            Some(offset) => {
                data.iter()
                    .for_each(|byte| self.console.write(offset, *byte));
                None
            }
            None => data.first().and_then(|byte| self.power.write(port, *byte)),
        }
    }

    /// Reads memory that is none.
    pub(crate) fn memory_read(&self, address: u64, data: &mut [u8]) {
        match self.find(address) {
            Some((device, offset)) => device.read(offset, data),
            None => data.fill(0xff),
        }
    }

    /// Writes memory that is none.
    pub(crate) fn memory_write(&self, address: u64, data: &[u8]) {
        if let Some((device, offset)) = self.find(address) {
            device.write(offset, data);
        }
    }

    fn find(&self, address: u64) -> Option<(&dyn Registers, u64)> {
        let distance = address.checked_sub(layout::MMIO_BASE)?;
        let index = usize::try_from(distance / layout::MMIO_SIZE).ok()?;
        Some((&**self.virtio.get(index)?, distance % layout::MMIO_SIZE))
    }
}

fn serial_offset(port: u16) -> Option<u8> {
    let offset = port.checked_sub(layout::PORT_SERIAL)?;
    (offset < layout::PORT_SERIAL_LEN).then_some(offset as u8)
}

//! From files to a guest that can be entered: kernel, initial RAM file system,
//! command line, memory map and firmware tables.

pub(crate) mod acpi;
mod aml;
mod kernel;
mod mptable;

use std::os::fd::{AsFd, OwnedFd};

use vm_memory::{Bytes, GuestAddress};

pub(crate) use kernel::LoadError;

use crate::cpu::registers::Entry;
use crate::layout::{self, Slot};
use crate::machine::Error;
use crate::memory::{self, Memory};
use crate::sys::Positioned;

/// What is loaded into the guest.
pub(crate) struct Payload<'a> {
    pub(crate) kernel: &'a OwnedFd,
    pub(crate) initrd: Option<&'a OwnedFd>,
    pub(crate) cmdline: &'a str,
    /// Add the devices to it.
    pub(crate) cmdline_devices: bool,
    pub(crate) memory_bytes: u64,
    pub(crate) vcpus: u32,
    /// Number of virtio devices, in slots from the first on.
    pub(crate) devices: usize,
}

/// A range of the memory map that the guest gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MapEntry {
    start: u64,
    len: u64,
    /// Types of e820: 1 is memory, 2 is reserved.
    kind: u32,
}

/// `mov al, 0xfe; out 0x64, al; hlt` in real mode.
///
/// Kernels with EFI support (distributions') believe that a hardware-reduced
/// machine has it, and when that is not so they jump to the BIOS to reset.
const RESET_CODE: [u8; 5] = [0xb0, 0xfe, 0xe6, 0x64, 0xf4];

const RAM: u32 = 1;
const RESERVED: u32 = 2;

/// The loaded initial RAM file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Initrd {
    start: u64,
    len: u64,
}

/// Loads everything; tells how the kernel is entered.
pub(crate) fn load(memory: &Memory, payload: &Payload<'_>) -> Result<Entry, Error> {
    let slots: Vec<Slot> = (0..payload.devices).map(Slot::new).collect();
    let rsdp = acpi::write(memory, payload.vcpus, &slots)?;
    mptable::write(memory, payload.vcpus)?;
    write(memory, layout::RESET_VECTOR, &RESET_CODE, "reset vector")?;
    let told = if payload.cmdline_devices {
        &slots[..]
    } else {
        &[]
    };
    let cmdline = command_line(payload.cmdline, told);
    write(memory, layout::CMDLINE, &cmdline, "kernel command line")?;

    let kernel = kernel::load(memory, payload.kernel.as_fd())?;
    let initrd = match payload.initrd {
        Some(file) => {
            let below = payload
                .memory_bytes
                .min(kernel.initrd_limit)
                .min(layout::LOW_RAM_END);
            load_initrd(memory, file, kernel.end, below)?
        }
        None => Initrd::default(),
    };
    let map = memory_map(payload.memory_bytes);
    kernel::describe(memory, &kernel, &map, initrd, rsdp)?;
    Ok(kernel.entry)
}

/// The user's command line with devices for kernels that take them from there
/// (CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES).
fn command_line(given: &str, slots: &[Slot]) -> Vec<u8> {
    let mut line = given.to_owned();
    for slot in slots {
        line += &format!(" virtio_mmio.device=4K@{:#x}:{}", slot.base, slot.irq);
    }
    line.push('\0');
    line.into_bytes()
}

/// What is memory and what is not.
fn memory_map(bytes: u64) -> Vec<MapEntry> {
    let mut map = vec![
        MapEntry {
            start: 0,
            len: layout::CONVENTIONAL_END,
            kind: RAM,
        },
        MapEntry {
            start: layout::ACPI,
            len: layout::HIGH_RAM - layout::ACPI,
            kind: RESERVED,
        },
    ];
    for (start, len) in memory::ranges(bytes) {
        let from = start.max(layout::HIGH_RAM);
        map.push(MapEntry {
            start: from,
            len: start + len - from,
            kind: RAM,
        });
    }
    map
}

/// Reads the file to the highest pages below `below`, above the kernel.
fn load_initrd(
    memory: &Memory,
    file: &OwnedFd,
    kernel_end: u64,
    below: u64,
) -> Result<Initrd, Error> {
    let mut file = Positioned::new(file.as_fd()).map_err(LoadError::Initrd)?;
    let len = file.size();
    let start = below
        .checked_sub(len)
        .map(|start| start & !0xfff)
        .filter(|start| *start >= kernel_end);
    let start = start.ok_or(LoadError::InitrdTooLarge(len))?;
    memory
        .read_exact_volatile_from(GuestAddress(start), &mut file, len as usize)
        .map_err(|why| LoadError::Initrd(std::io::Error::other(why)))?;
    Ok(Initrd { start, len })
}

fn write(memory: &Memory, address: u64, bytes: &[u8], what: &'static str) -> Result<(), Error> {
    memory
        .write_slice(bytes, GuestAddress(address))
        .map_err(|_| Error::Layout(what))
}

/// Sets the byte at `at` such that all bytes add up to 0.
fn fix_checksum(table: &mut [u8], at: usize) {
    table[at] = 0;
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    table[at] = sum.wrapping_neg();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_on_the_command_line() {
        let line = command_line("quiet", &[Slot::new(0), Slot::new(1)]);
        let expected =
            "quiet virtio_mmio.device=4K@0xd0000000:6 virtio_mmio.device=4K@0xd0001000:7\0";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn the_memory_map_covers_all_memory_once() {
        for bytes in [128 << 20, 3 << 30, 5 << 30] {
            let map = memory_map(bytes);
            for pair in map.windows(2) {
                assert!(pair[0].start + pair[0].len <= pair[1].start);
            }
            let memory: u64 = map
                .iter()
                .filter(|entry| entry.kind == RAM)
                .map(|entry| entry.len)
                .sum();
            assert_eq!(
                memory,
                bytes - (layout::HIGH_RAM - layout::CONVENTIONAL_END)
            );
        }
    }

    #[test]
    fn an_initrd_that_does_not_fit_is_refused() {
        let memory = memory::allocate(4 << 20, false).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(5000).unwrap();
        let file = OwnedFd::from(file);
        let initrd = load_initrd(&memory, &file, 1 << 20, 4 << 20).unwrap();
        assert_eq!(
            initrd,
            Initrd {
                start: (4 << 20) - 8192,
                len: 5000
            }
        );
        assert!(load_initrd(&memory, &file, (4 << 20) - 4096, 4 << 20).is_err());
        assert!(load_initrd(&memory, &file, 0, 4096).is_err());
    }
}

//! Where things are in the guest's address space. All values in bytes.
//!
//! ```text
//! 0x0000_0500  GDT (64-bit boot protocol)
//! 0x0000_6000  PVH start info, module list, memory map
//! 0x0000_7000  zero page (64-bit boot protocol)
//! 0x0000_9000  page tables (64-bit boot protocol)
//! 0x0002_0000  kernel command line
//! 0x000a_0000  end of conventional memory
//! 0x000e_0000  ACPI tables (reserved)
//! 0x000f_0000  MP table, at its end the reset vector (reserved)
//! 0x0010_0000  kernel and everything else
//! top of low   initial RAM file system
//! 0xc000_0000  end of low memory; virtio-mmio devices from 0xd000_0000
//! 0xfec0_0000  I/O APIC, then local APICs
//! 0x1_0000_0000 memory beyond the hole
//! ```

/// GDT for the 64-bit boot protocol.
pub(crate) const GDT: u64 = 0x500;
/// `struct hvm_start_info`.
pub(crate) const PVH_INFO: u64 = 0x6000;
/// `struct hvm_modlist_entry`.
pub(crate) const PVH_MODULES: u64 = 0x6040;
/// `struct hvm_memmap_table_entry`s.
pub(crate) const PVH_MEMMAP: u64 = 0x6080;
/// `struct boot_params`.
pub(crate) const ZERO_PAGE: u64 = 0x7000;
/// Top page table; the others follow it.
pub(crate) const PAGE_TABLES: u64 = 0x9000;
/// Kernel command line.
pub(crate) const CMDLINE: u64 = 0x2_0000;
/// End of memory below the hole that PCs have there.
pub(crate) const CONVENTIONAL_END: u64 = 0xa_0000;
/// RSDP, the other ACPI tables behind it.
pub(crate) const ACPI: u64 = 0xe_0000;
/// Room for ACPI tables.
pub(crate) const ACPI_LEN: u64 = 0x1_0000;
/// MP floating pointer, the table behind it.
pub(crate) const MP_TABLE: u64 = 0xf_0000;
/// Where real mode starts after a reset (f000:fff0).
pub(crate) const RESET_VECTOR: u64 = 0xf_fff0;
/// Memory above the PC's holes.
pub(crate) const HIGH_RAM: u64 = 0x10_0000;

/// End of memory below 4 GiB.
pub(crate) const LOW_RAM_END: u64 = 0xc000_0000;
/// Memory goes on here.
pub(crate) const ABOVE_HOLE: u64 = 0x1_0000_0000;
/// First virtio-mmio device.
pub(crate) const MMIO_BASE: u64 = 0xd000_0000;
/// Bytes of registers per virtio-mmio device.
pub(crate) const MMIO_SIZE: u64 = 0x1000;
/// I/O APIC.
pub(crate) const IOAPIC: u32 = 0xfec0_0000;
/// Local APICs.
pub(crate) const LOCAL_APIC: u32 = 0xfee0_0000;
/// Three pages that KVM needs on Intel CPUs, and one more below (KVM API,
/// KVM_SET_TSS_ADDR, KVM_SET_IDENTITY_MAP_ADDR).
pub(crate) const KVM_TSS: usize = 0xfffb_d000;

/// First port of the serial port.
pub(crate) const PORT_SERIAL: u16 = 0x3f8;
/// Ports of the serial port.
pub(crate) const PORT_SERIAL_LEN: u16 = 8;
/// Keyboard controller: data.
pub(crate) const PORT_KEYBOARD_DATA: u16 = 0x60;
/// Keyboard controller: status and command.
pub(crate) const PORT_KEYBOARD: u16 = 0x64;
/// Reset control register of PCs.
pub(crate) const PORT_RESET: u16 = 0xcf9;
/// ACPI sleep control register (ACPI 6.5, section 4.8.3.7).
pub(crate) const PORT_SLEEP_CONTROL: u16 = 0x600;
/// ACPI sleep status register.
pub(crate) const PORT_SLEEP_STATUS: u16 = 0x601;
/// Pending events of the generic event device; reading clears them.
pub(crate) const PORT_EVENTS: u16 = 0x602;

/// Interrupt line of the serial port.
pub(crate) const IRQ_SERIAL: u32 = 4;
/// Interrupt line of the generic event device.
pub(crate) const IRQ_EVENTS: u32 = 5;
/// First interrupt line of the virtio devices.
pub(crate) const IRQ_DEVICES: u32 = 6;
/// Last interrupt line of the I/O APIC.
pub(crate) const IRQ_LAST: u32 = 23;
/// Most virtio devices.
pub(crate) const MAX_DEVICES: usize = (IRQ_LAST - IRQ_DEVICES + 1) as usize;

/// Place and interrupt line of a virtio-mmio device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) base: u64,
    pub(crate) irq: u32,
}

impl Slot {
    /// The slot of the device with this index, below [`MAX_DEVICES`].
    pub(crate) fn new(index: usize) -> Slot {
        Slot {
            base: MMIO_BASE + index as u64 * MMIO_SIZE,
            irq: IRQ_DEVICES + index as u32,
        }
    }
}

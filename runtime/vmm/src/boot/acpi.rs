//! The tables from which kernels with ACPI learn about processors, interrupt
//! lines, virtio devices and how to switch off (ACPI 6.5, chapter 5). The machine
//! is "hardware-reduced": no power management timer, no system control interrupt.

use super::{aml, fix_checksum};
use crate::layout::{self, Slot};
use crate::machine::Error;
use crate::memory::Memory;

const OEM: &[u8; 6] = b"ISOLA ";
const OEM_TABLE: &[u8; 8] = b"MICROVM ";
const CHECKSUM: usize = 9;
const HEADER: usize = 36;

/// Value of the reset port that resets (also in FADT).
pub(crate) const RESET_VALUE: u8 = 0x06;
/// Sleep type of the switched-off state (`\_S5`).
pub(crate) const SLEEP_TYPE_OFF: u8 = 5;

/// Writes all tables; the address of the root pointer.
pub(super) fn write(memory: &Memory, vcpus: u32, slots: &[Slot]) -> Result<u64, Error> {
    const POINTER_ROOM: u64 = 64;
    let mut next = layout::ACPI + POINTER_ROOM;
    let mut place = |table: &[u8]| -> Result<u64, Error> {
        let at = next;
        next += (table.len() as u64).next_multiple_of(16);
        if next > layout::ACPI + layout::ACPI_LEN {
            return Err(Error::Layout("ACPI tables"));
        }
        super::write(memory, at, table, "ACPI tables")?;
        Ok(at)
    };
    let dsdt = place(&table(b"DSDT", 2, &dsdt(slots)))?;
    let fadt = place(&table(b"FACP", 6, &fadt(dsdt)))?;
    let madt = place(&table(b"APIC", 5, &madt(vcpus)))?;
    let pointers = [fadt.to_le_bytes(), madt.to_le_bytes()].concat();
    let xsdt = place(&table(b"XSDT", 1, &pointers))?;
    super::write(
        memory,
        layout::ACPI,
        &root_pointer(xsdt),
        "ACPI root pointer",
    )?;
    Ok(layout::ACPI)
}

fn root_pointer(xsdt: u64) -> Vec<u8> {
    const REVISION: u8 = 2;
    const LENGTH: u32 = 36;
    let mut bytes = b"RSD PTR \0".to_vec();
    bytes.extend(OEM);
    bytes.push(REVISION);
    bytes.extend([0; 4]);
    // The first checksum covers what ACPI 1.0 knew.
    fix_checksum(&mut bytes, 8);
    bytes.extend(LENGTH.to_le_bytes());
    bytes.extend(xsdt.to_le_bytes());
    bytes.extend([0; 4]);
    fix_checksum(&mut bytes, 32);
    bytes
}

/// A table with its header.
fn table(signature: &[u8; 4], revision: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend(((HEADER + content.len()) as u32).to_le_bytes());
    bytes.extend([revision, 0]);
    bytes.extend(OEM);
    bytes.extend(OEM_TABLE);
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(b"ISOL");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(content);
    fix_checksum(&mut bytes, CHECKSUM);
    bytes
}

/// Fixed description: all that matters on a hardware-reduced machine.
fn fadt(dsdt: u64) -> Vec<u8> {
    const LENGTH: usize = 276;
    // Boot architecture: no VGA, no CMOS clock (and no keyboard controller).
    const BOOT_ARCH: u16 = 1 << 2 | 1 << 5;
    // WBINVD works; buttons are devices; there is a reset register;
    // hardware-reduced.
    const FLAGS: u32 = 1 | 1 << 4 | 1 << 5 | 1 << 10 | 1 << 20;
    let mut bytes = vec![0; LENGTH];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(109, &BOOT_ARCH.to_le_bytes());
    put(112, &FLAGS.to_le_bytes());
    put(116, &register(layout::PORT_RESET));
    put(128, &[RESET_VALUE]);
    put(131, &[5]);
    put(140, &dsdt.to_le_bytes());
    put(244, &register(layout::PORT_SLEEP_CONTROL));
    put(256, &register(layout::PORT_SLEEP_STATUS));
    put(268, b"ISOLA\0\0\0");
    bytes.split_off(HEADER)
}

/// A generic address structure for a port of one byte.
fn register(port: u16) -> [u8; 12] {
    let [low, high] = port.to_le_bytes();
    [1, 8, 0, 1, low, high, 0, 0, 0, 0, 0, 0]
}

/// Processors and the I/O APIC.
fn madt(vcpus: u32) -> Vec<u8> {
    const ENABLED: u32 = 1;
    let mut bytes = layout::LOCAL_APIC.to_le_bytes().to_vec();
    // No flags: there are no legacy interrupt controllers to switch off.
    bytes.extend([0; 4]);
    for cpu in 0..vcpus as u8 {
        bytes.extend([0, 8, cpu, cpu]);
        bytes.extend(ENABLED.to_le_bytes());
    }
    bytes.extend([1, 12, vcpus as u8, 0]);
    bytes.extend(layout::IOAPIC.to_le_bytes());
    bytes.extend([0; 4]);
    // NMI at LINT1 of every processor.
    bytes.extend([4, 6, 0xff, 0, 0, 1]);
    bytes
}

/// Devices and the switched-off state.
fn dsdt(slots: &[Slot]) -> Vec<u8> {
    let mut devices: Vec<Vec<u8>> = (0u32..)
        .zip(slots)
        .map(|(index, slot)| virtio(index, *slot))
        .collect();
    devices.push(aml::device(
        "COM1",
        &[
            aml::name("_HID", &aml::eisa_id(b"PNP0501")),
            aml::name("_UID", &aml::integer(0)),
            aml::resources(&[
                aml::ports(layout::PORT_SERIAL, layout::PORT_SERIAL_LEN as u8),
                aml::interrupt(layout::IRQ_SERIAL),
            ]),
        ],
    ));
    devices.push(aml::device(
        "PWRB",
        &[aml::name("_HID", &aml::eisa_id(b"PNP0C0C"))],
    ));
    devices.push(event_device());
    let off = aml::root_package("_S5", &[u32::from(SLEEP_TYPE_OFF), 0, 0, 0]);
    [off, aml::scope("_SB", &devices)].concat()
}

fn virtio(index: u32, slot: Slot) -> Vec<u8> {
    aml::device(
        &format!("V{index:03}"),
        &[
            aml::name("_HID", &aml::string("LNRO0005")),
            aml::name("_UID", &aml::integer(index)),
            aml::name("_CCA", &aml::integer(1)),
            aml::resources(&[
                aml::memory(slot.base as u32, layout::MMIO_SIZE as u32),
                aml::interrupt(slot.irq),
            ]),
        ],
    )
}

/// The device whose interrupt asks the guest which event there is: bit 0 of its
/// port is the power button.
fn event_device() -> Vec<u8> {
    const PRESSED: u32 = 0x80;
    aml::device(
        "GED",
        &[
            aml::name("_HID", &aml::string("ACPI0013")),
            aml::name("_UID", &aml::integer(0)),
            aml::resources(&[aml::interrupt(layout::IRQ_EVENTS)]),
            aml::port_field("REGS", "EVTS", layout::PORT_EVENTS),
            aml::method(
                "_EVT",
                1,
                &[
                    aml::load_local("EVTS"),
                    aml::if_local(1, &[aml::notify("PWRB", PRESSED)]),
                ],
            ),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;
    use vm_memory::{Bytes, GuestAddress};

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn read_table(memory: &Memory, at: u64) -> Vec<u8> {
        let length: u32 = memory.read_obj(GuestAddress(at + 4)).unwrap();
        let mut bytes = vec![0; length as usize];
        memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        assert_eq!(
            sum(&bytes),
            0,
            "checksum of {:?}",
            String::from_utf8_lossy(&bytes[..4])
        );
        bytes
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn every_table_is_reached_and_sums_to_zero() {
        let memory = memory::allocate(2 << 20, false).unwrap();
        let slots: Vec<Slot> = (0..layout::MAX_DEVICES).map(Slot::new).collect();
        let rsdp = write(&memory, 64, &slots).unwrap();
        let mut pointer = [0; 36];
        memory.read_slice(&mut pointer, GuestAddress(rsdp)).unwrap();
        assert_eq!(
            (&pointer[..8], sum(&pointer[..20]), sum(&pointer)),
            (&b"RSD PTR "[..], 0, 0)
        );
        let xsdt = read_table(&memory, u64_at(&pointer, 24));
        assert_eq!((&xsdt[..4], xsdt.len()), (&b"XSDT"[..], HEADER + 16));
        let fadt = read_table(&memory, u64_at(&xsdt, 36));
        assert_eq!((&fadt[..4], fadt.len()), (&b"FACP"[..], 276));
        let madt = read_table(&memory, u64_at(&xsdt, 44));
        assert_eq!(
            (&madt[..4], madt.len()),
            (&b"APIC"[..], HEADER + 8 + 64 * 8 + 12 + 6)
        );
        let dsdt = read_table(&memory, u64_at(&fadt, 140));
        assert_eq!(&dsdt[..4], b"DSDT");
        let devices = dsdt
            .windows(8)
            .filter(|window| window == b"LNRO0005")
            .count();
        assert_eq!(devices, layout::MAX_DEVICES);
    }
}

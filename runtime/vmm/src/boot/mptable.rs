//! The table of processors and interrupt lines for kernels without ACPI
//! (Intel MultiProcessor Specification 1.4, chapter 4).

use super::fix_checksum;
use crate::layout;
use crate::machine::Error;
use crate::memory::Memory;

const SPEC: u8 = 4;
const APIC_VERSION: u8 = 0x14;
const ENABLED: u8 = 1;
const BOOT_CPU: u8 = 2;
const ISA_BUS: u8 = 0;
const VECTORED: u8 = 0;
const NMI: u8 = 1;
const EXTINT: u8 = 3;
const ALL_APICS: u8 = 0xff;
const POINTER_LEN: u64 = 16;

pub(super) fn write(memory: &Memory, vcpus: u32) -> Result<(), Error> {
    let table_at = layout::MP_TABLE + POINTER_LEN;
    let pointer = pointer(table_at as u32);
    super::write(memory, layout::MP_TABLE, &pointer, "MP table")?;
    super::write(memory, table_at, &table(vcpus), "MP table")
}

fn pointer(table: u32) -> Vec<u8> {
    let mut bytes = b"_MP_".to_vec();
    bytes.extend(table.to_le_bytes());
    // Length in 16 bytes, version, checksum, features.
    bytes.extend([1, SPEC, 0, 0, 0, 0, 0, 0]);
    fix_checksum(&mut bytes, 10);
    bytes
}

fn table(vcpus: u32) -> Vec<u8> {
    let ioapic_id = vcpus as u8;
    let mut entries: Vec<Vec<u8>> = Vec::new();
    for cpu in 0..vcpus {
        let boot = if cpu == 0 { BOOT_CPU } else { 0 };
        // Signature and features: family 6, FPU and APIC.
        let mut entry = vec![0, cpu as u8, APIC_VERSION, ENABLED | boot, 0, 6, 0, 0];
        entry.extend(0x201u32.to_le_bytes());
        entry.extend([0; 8]);
        entries.push(entry);
    }
    entries.push([&[1, ISA_BUS][..], b"ISA   "].concat());
    entries.push(
        [
            &[2, ioapic_id, APIC_VERSION, ENABLED][..],
            &layout::IOAPIC.to_le_bytes(),
        ]
        .concat(),
    );
    for line in 0..=layout::IRQ_LAST as u8 {
        entries.push(vec![3, VECTORED, 0, 0, ISA_BUS, line, ioapic_id, line]);
    }
    entries.push(vec![4, EXTINT, 0, 0, ISA_BUS, 0, 0, 0]);
    entries.push(vec![4, NMI, 0, 0, ISA_BUS, 0, ALL_APICS, 1]);

    let mut table = b"PCMP".to_vec();
    let length = 44 + entries.iter().map(Vec::len).sum::<usize>();
    table.extend((length as u16).to_le_bytes());
    table.extend([SPEC, 0]);
    table.extend(b"ISOLA   MICROVM     ");
    table.extend([0; 6]);
    table.extend((entries.len() as u16).to_le_bytes());
    table.extend(layout::LOCAL_APIC.to_le_bytes());
    table.extend([0; 4]);
    table.extend(entries.concat());
    fix_checksum(&mut table, 7);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn checksums_and_lengths_agree() {
        let pointer = pointer(0xf0010);
        assert_eq!((pointer.len(), sum(&pointer)), (16, 0));
        for vcpus in [1, 2, 64] {
            let table = table(vcpus);
            assert_eq!(sum(&table), 0);
            assert_eq!(
                usize::from(u16::from_le_bytes([table[4], table[5]])),
                table.len()
            );
            // Walks the entries by their types.
            let (mut at, mut count) = (44, 0);
            while at < table.len() {
                at += if table[at] == 0 { 20 } else { 8 };
                count += 1;
            }
            assert_eq!(at, table.len());
            assert_eq!(count, u16::from_le_bytes([table[34], table[35]]));
            assert!((table.len() as u64) < layout::HIGH_RAM - layout::MP_TABLE);
        }
    }
}

//! The state in which the first vCPU enters the kernel. The others wait for the
//! guest to start them (KVM holds them until the first INIT and SIPI).

use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress};

use crate::layout;
use crate::machine::Error;
use crate::memory::Memory;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

const MSR_MISC_ENABLE: u32 = 0x1a0;
const MSR_MISC_ENABLE_FAST_STRING: u64 = 1;
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;
/// MTRRs on, memory is write-back where nothing else is said.
const MTRR_WRITE_BACK: u64 = 1 << 11 | 6;

/// Where and how the kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// 32-bit protected mode, EBX points to the start info (Xen, "x86/HVM direct
    /// boot ABI").
    Pvh {
        /// First instruction.
        ip: u64,
    },
    /// 64-bit mode, RSI points to the zero page (Linux, "The Linux/x86 Boot
    /// Protocol", 64-bit).
    Linux64 {
        /// First instruction.
        ip: u64,
    },
}

/// Sets up the first vCPU.
pub(crate) fn enter(vcpu: &VcpuFd, memory: &Memory, entry: Entry) -> Result<(), Error> {
    let failed = |why| Error::Kvm {
        what: "set the registers of a vCPU",
        why,
    };
    let mut sregs = vcpu.get_sregs().map_err(failed)?;
    let mut regs = kvm_regs {
        rflags: 2,
        ..Default::default()
    };
    match entry {
        Entry::Pvh { ip } => {
            regs.rip = ip;
            regs.rbx = layout::PVH_INFO;
            protected_mode(&mut sregs);
        }
        Entry::Linux64 { ip } => {
            regs.rip = ip;
            regs.rsi = layout::ZERO_PAGE;
            regs.rsp = layout::CONVENTIONAL_END - 16;
            long_mode(&mut sregs);
            page_tables(memory)?;
            gdt(memory)?;
        }
    }
    vcpu.set_sregs(&sregs).map_err(failed)?;
    vcpu.set_regs(&regs).map_err(failed)
}

/// A flat segment of 4 GiB. `kind` is the type of the descriptor.
fn flat(selector: u16, kind: u8, long: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: kind,
        present: 1,
        dpl: 0,
        db: u8::from(!long),
        s: 1,
        l: u8::from(long),
        g: 1,
        ..Default::default()
    }
}

const CODE: u8 = 0xb;
const DATA: u8 = 0x3;
const TSS: u8 = 0xb;
/// `__BOOT_CS` and `__BOOT_DS` of the boot protocol.
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;

fn segments(sregs: &mut kvm_sregs, long: bool) {
    sregs.cs = flat(CODE_SELECTOR, CODE, long);
    let data = flat(DATA_SELECTOR, DATA, false);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment {
        limit: 0x67,
        type_: TSS,
        present: 1,
        ..Default::default()
    };
}

fn protected_mode(sregs: &mut kvm_sregs) {
    segments(sregs, false);
    sregs.cr0 = CR0_PE | CR0_ET;
    sregs.cr4 = 0;
    sregs.efer = 0;
}

/// 64-bit mode over the tables of [`page_tables`].
pub(crate) fn long_mode(sregs: &mut kvm_sregs) {
    segments(sregs, true);
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = 4 * 8 - 1;
    sregs.cr3 = layout::PAGE_TABLES;
    sregs.cr4 = CR4_PAE;
    sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
    sregs.efer = EFER_LME | EFER_LMA;
}

fn store(memory: &Memory, address: u64, value: u64) -> Result<(), Error> {
    memory
        .write_obj(value, GuestAddress(address))
        .map_err(|_| Error::Layout("page tables"))
}

/// Maps the first 4 GiB to themselves in pages of 2 MiB.
pub(crate) fn page_tables(memory: &Memory) -> Result<(), Error> {
    const PAGE: u64 = 0x1000;
    const TABLE: u64 = 0x3;
    const LARGE: u64 = 0x83;
    let pointers = layout::PAGE_TABLES + PAGE;
    store(memory, layout::PAGE_TABLES, pointers | TABLE)?;
    for gib in 0..4 {
        let directory = pointers + PAGE * (gib + 1);
        store(memory, pointers + gib * 8, directory | TABLE)?;
        for entry in 0..512 {
            store(
                memory,
                directory + entry * 8,
                gib << 30 | entry << 21 | LARGE,
            )?;
        }
    }
    Ok(())
}

/// The descriptors that the selectors of [`long_mode`] name.
pub(crate) fn gdt(memory: &Memory) -> Result<(), Error> {
    let table = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
    for (index, descriptor) in (0u64..).zip(table) {
        store(memory, layout::GDT + index * 8, descriptor)?;
    }
    Ok(())
}

/// Sets model specific registers that firmware would set. Hosts that refuse one
/// are no reason to give up: the guest then finds the value after reset.
pub(crate) fn set_msrs(vcpu: &VcpuFd) {
    for (index, data) in [
        (MSR_MISC_ENABLE, MSR_MISC_ENABLE_FAST_STRING),
        (MSR_MTRR_DEF_TYPE, MTRR_WRITE_BACK),
    ] {
        let entry = kvm_msr_entry {
            index,
            data,
            ..Default::default()
        };
        if let Ok(list) = Msrs::from_entries(&[entry]) {
            let _ = vcpu.set_msrs(&list);
        }
    }
}

/// Wires the interrupt pins of the local APIC as firmware does: LINT0 takes the
/// legacy controller, LINT1 is the NMI.
pub(crate) fn set_local_apic(vcpu: &VcpuFd) -> Result<(), Error> {
    const LINT0: usize = 0x350;
    const LINT1: usize = 0x360;
    const EXTINT: u32 = 7 << 8;
    const NMI: u32 = 4 << 8;
    let failed = |why| Error::Kvm {
        what: "set the local APIC of a vCPU",
        why,
    };
    let mut state = vcpu.get_lapic().map_err(failed)?;
    for (register, value) in [(LINT0, EXTINT), (LINT1, NMI)] {
        for (place, byte) in state.regs[register..].iter_mut().zip(value.to_le_bytes()) {
            *place = byte as libc::c_char;
        }
    }
    vcpu.set_lapic(&state).map_err(failed)
}

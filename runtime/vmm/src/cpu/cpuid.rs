//! What a vCPU tells the guest about itself (Intel SDM volume 2, CPUID; AMD APM
//! volume 3, appendix E).
//!
//! The base is all that KVM supports on this host. One package, one thread per
//! core, as many cores as vCPUs.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// Bits of leaf 1, ECX.
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// Bit of leaf 1, EDX: several logical processors in the package.
const HTT: u32 = 1 << 28;
/// Bits of leaf 0x8000_0001, ECX: extended performance counters.
const AMD_COUNTERS: u32 = 1 << 23 | 1 << 24 | 1 << 28;

/// Makes KVM's list that of the vCPU with this index.
pub(crate) fn adapt(cpuid: &mut CpuId, index: u32, vcpus: u32, tsc_deadline: bool) {
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            0x1 => features(entry, index, vcpus, tsc_deadline),
            0x4 => intel_cache(entry, vcpus),
            // Performance counters: no use in a guest that lives for one program,
            // and their MSRs cost exits.
            0xa => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
            0xb | 0x1f => topology(entry, index, vcpus),
            0x8000_0001 => entry.ecx &= !AMD_COUNTERS,
            0x8000_0008 => entry.ecx = core_count(vcpus),
            0x8000_001d => amd_cache(entry, vcpus),
            0x8000_001e => {
                // Extended APIC id; core id with one thread per core; node 0 of 1.
                (entry.eax, entry.ebx, entry.ecx) = (index, index & 0xff, 0);
            }
            _ => {}
        }
    }
    complete_topology(cpuid, index, vcpus);
}

fn features(entry: &mut kvm_cpuid_entry2, index: u32, vcpus: u32, tsc_deadline: bool) {
    // APIC id, logical processors, cache line size to flush (in 8 bytes).
    entry.ebx = index << 24 | (vcpus.next_power_of_two() & 0xff) << 16 | 8 << 8;
    // Without the first there is no kvmclock in the guest. Without the second the
    // guest falls back to a timer that it must calibrate first, which goes wrong
    // now and then on a busy host.
    entry.ecx |= HYPERVISOR;
    if tsc_deadline {
        entry.ecx |= TSC_DEADLINE;
    }
    if vcpus > 1 {
        entry.edx |= HTT;
    } else {
        entry.edx &= !HTT;
    }
}

/// Number of bits that tell the vCPUs of a package apart.
fn id_bits(vcpus: u32) -> u32 {
    vcpus.next_power_of_two().trailing_zeros()
}

fn intel_cache(entry: &mut kvm_cpuid_entry2, vcpus: u32) {
    if entry.eax & 0x1f == 0 {
        return;
    }
    let level = entry.eax >> 5 & 0x7;
    let sharing = if level >= 3 {
        vcpus.next_power_of_two() - 1
    } else {
        0
    };
    let cores = vcpus.next_power_of_two() - 1;
    entry.eax = entry.eax & 0x3fff | (sharing & 0xfff) << 14 | (cores & 0x3f) << 26;
}

fn amd_cache(entry: &mut kvm_cpuid_entry2, vcpus: u32) {
    if entry.eax & 0x1f == 0 {
        return;
    }
    let level = entry.eax >> 5 & 0x7;
    let sharing = if level >= 3 { vcpus - 1 } else { 0 };
    entry.eax = entry.eax & 0x3fff | (sharing & 0xfff) << 14;
}

fn core_count(vcpus: u32) -> u32 {
    id_bits(vcpus) << 12 | (vcpus - 1) & 0xff
}

/// One level of the extended topology: threads (0), cores (1), end.
fn topology(entry: &mut kvm_cpuid_entry2, index: u32, vcpus: u32) {
    let (shift, count, kind) = match entry.index {
        0 => (0, 1, 1),
        1 => (id_bits(vcpus), vcpus, 2),
        _ => (0, 0, 0),
    };
    entry.eax = shift;
    entry.ebx = count;
    entry.ecx = entry.index & 0xff | kind << 8;
    entry.edx = index;
    entry.flags |= KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
}

/// Adds the levels that KVM's list lacks: it often has only the first.
fn complete_topology(cpuid: &mut CpuId, index: u32, vcpus: u32) {
    for function in [0xb, 0x1f] {
        let levels: Vec<u32> = cpuid
            .as_slice()
            .iter()
            .filter(|entry| entry.function == function)
            .map(|entry| entry.index)
            .collect();
        if levels.is_empty() {
            continue;
        }
        for level in (0..3).filter(|level| !levels.contains(level)) {
            let mut entry = kvm_cpuid_entry2 {
                function,
                index: level,
                ..Default::default()
            };
            topology(&mut entry, index, vcpus);
            // A full list is left as it is: the guest then sees fewer levels.
            let _ = cpuid.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(leaves: &[(u32, u32, u32)]) -> CpuId {
        let entries: Vec<_> = leaves
            .iter()
            .map(|&(function, index, eax)| kvm_cpuid_entry2 {
                function,
                index,
                eax,
                ..Default::default()
            })
            .collect();
        CpuId::from_entries(&entries).unwrap()
    }

    fn find(cpuid: &CpuId, function: u32, index: u32) -> kvm_cpuid_entry2 {
        *cpuid
            .as_slice()
            .iter()
            .find(|e| e.function == function && e.index == index)
            .unwrap()
    }

    #[test]
    fn each_vcpu_has_its_own_id() {
        for (index, vcpus) in [(0, 1), (2, 3), (63, 64)] {
            let mut cpuid = list(&[
                (1, 0, 0),
                (0xb, 0, 0),
                (0x8000_001e, 0, 0),
                (0x8000_0008, 0, 0),
            ]);
            adapt(&mut cpuid, index, vcpus, true);
            let leaf = find(&cpuid, 1, 0);
            assert_eq!(leaf.ebx >> 24, index);
            assert_eq!(
                leaf.ecx & (HYPERVISOR | TSC_DEADLINE),
                HYPERVISOR | TSC_DEADLINE
            );
            assert_eq!(leaf.edx & HTT != 0, vcpus > 1);
            assert_eq!(find(&cpuid, 0xb, 0).edx, index);
            let cores = find(&cpuid, 0xb, 1);
            assert_eq!((cores.ebx, cores.ecx >> 8), (vcpus, 2));
            assert!(1 << cores.eax >= vcpus);
            assert_eq!(find(&cpuid, 0xb, 2).ecx >> 8, 0);
            assert_eq!(find(&cpuid, 0x8000_001e, 0).eax, index);
            assert_eq!(find(&cpuid, 0x8000_0008, 0).ecx & 0xff, vcpus - 1);
        }
    }

    #[test]
    fn only_the_last_cache_level_is_shared() {
        let mut cpuid = list(&[(4, 0, 1 << 5 | 1), (4, 1, 3 << 5 | 3), (4, 2, 0)]);
        adapt(&mut cpuid, 0, 4, false);
        assert_eq!(find(&cpuid, 4, 0).eax >> 14 & 0xfff, 0);
        assert_eq!(find(&cpuid, 4, 1).eax >> 14 & 0xfff, 3);
        assert_eq!(find(&cpuid, 4, 2).eax, 0);
        assert_eq!(cpuid.as_slice().len(), 3);
    }
}

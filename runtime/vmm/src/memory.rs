//! Guest memory.
//!
//! Private, anonymous and not reserved, so that only what the guest touches
//! costs anything; aligned to 2 MiB and advised as huge pages, which saves most
//! of the nested page faults (a shared memfd would lose them).
#![allow(unsafe_code)]

use std::io;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MmapRegion,
};

use crate::layout::{ABOVE_HOLE, LOW_RAM_END};
use crate::machine::Error;

/// Guest memory as all parts of the program use it.
pub(crate) type Memory = GuestMemoryMmap<()>;

const HUGE_PAGE: usize = 2 << 20;
const PROT: i32 = libc::PROT_READ | libc::PROT_WRITE;
const FLAGS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// Address and length of the ranges that hold `bytes` of memory.
pub(crate) fn ranges(bytes: u64) -> Vec<(u64, u64)> {
    let low = bytes.min(LOW_RAM_END);
    let mut ranges = vec![(0, low)];
    if bytes > low {
        ranges.push((ABOVE_HOLE, bytes - low));
    }
    ranges
}

/// Maps `bytes` of memory. It stays mapped until the process ends.
pub(crate) fn allocate(bytes: u64) -> Result<Memory, Error> {
    let failed = |why: io::Error| Error::Memory { bytes, why };
    let size = usize::try_from(bytes).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
    let base = map_aligned(size).map_err(failed)?;
    let mut offset = 0;
    let mut regions = Vec::new();
    for (address, len) in ranges(bytes) {
        let len = len as usize;
        // SAFETY: the piece lies inside the mapping, which is never unmapped, and
        // no other region covers it.
        let region = unsafe { MmapRegion::<()>::build_raw(base.add(offset), len, PROT, FLAGS) };
        let region = region.map_err(|why| failed(io::Error::other(why)))?;
        regions.push(
            GuestRegionMmap::new(region, GuestAddress(address))
                .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?,
        );
        offset += len;
    }
    Memory::from_regions(regions).map_err(|why| failed(io::Error::other(why)))
}

/// Maps `size` bytes at a multiple of 2 MiB.
fn map_aligned(size: usize) -> io::Result<*mut u8> {
    let room = size
        .checked_add(HUGE_PAGE)
        .ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: a new anonymous mapping at a place of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), room, PROT, FLAGS, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let skip = start.align_offset(HUGE_PAGE);
    // SAFETY: the mapping has room for `size` bytes after less than one huge page.
    let aligned = unsafe { start.cast::<u8>().add(skip) };
    // SAFETY: advice about our own mapping. Refusal (a kernel without huge pages)
    // costs speed only. A core dump must not hold the guest's memory.
    unsafe {
        libc::madvise(aligned.cast(), size, libc::MADV_HUGEPAGE);
        libc::madvise(aligned.cast(), size, libc::MADV_DONTDUMP);
    }
    Ok(aligned)
}

/// Gives the memory to a machine.
pub(crate) fn attach(vm: &VmFd, memory: &Memory) -> Result<(), kvm_ioctls::Error> {
    for (slot, region) in memory.iter().enumerate() {
        let slot = kvm_userspace_memory_region {
            slot: slot as u32,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: the range is mapped and stays so as long as the machine lives:
        // the caller keeps `memory`, or it came from `allocate`.
        unsafe { vm.set_user_memory_region(slot)? };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn large_memory_leaves_the_hole_free() {
        assert_eq!(ranges(128 << 20), [(0, 128 << 20)]);
        assert_eq!(ranges(3 << 30), [(0, 3 << 30)]);
        assert_eq!(ranges(8 << 30), [(0, 3 << 30), (4 << 30, 5 << 30)]);
    }

    #[test]
    fn regions_are_aligned_and_usable() {
        let memory = allocate(5 << 30).unwrap();
        for region in memory.iter() {
            assert_eq!(region.as_ptr() as usize % HUGE_PAGE, 0);
        }
        memory.write_obj(7u64, GuestAddress((6 << 30) - 8)).unwrap();
        assert_eq!(
            memory.read_obj::<u64>(GuestAddress((6 << 30) - 8)).unwrap(),
            7
        );
        assert!(memory.read_obj::<u64>(GuestAddress(3 << 30)).is_err());
    }
}

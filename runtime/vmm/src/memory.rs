//! Guest memory.
//!
//! Private, anonymous and not reserved, so that only what the guest touches
//! costs anything; or, for a device that another process serves, a memfd of fixed size;
//! aligned to 2 MiB and advised as huge pages, which saves most
//! of the nested page faults (of a memfd, if the
//! host's `shmem_enabled` lets it have them).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap,
};

use crate::layout::{ABOVE_HOLE, LOW_RAM_END};
use crate::machine::Error;

/// Guest memory as all parts of the program use it.
pub(crate) type Memory = GuestMemoryMmap<()>;

const HUGE_PAGE: usize = 2 << 20;
const PROT: i32 = libc::PROT_READ | libc::PROT_WRITE;
const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
const SHARED: i32 = libc::MAP_SHARED | libc::MAP_NORESERVE;

/// Address and length of the ranges that hold `bytes` of memory.
pub(crate) fn ranges(bytes: u64) -> Vec<(u64, u64)> {
    let low = bytes.min(LOW_RAM_END);
    let mut ranges = vec![(0, low)];
    if bytes > low {
        ranges.push((ABOVE_HOLE, bytes - low));
    }
    ranges
}

/// Maps `bytes` of memory, `shared` if another process shall map it, too. It stays
/// mapped until the process ends.
pub(crate) fn allocate(bytes: u64, shared: bool) -> Result<Memory, Error> {
    let failed = |why: io::Error| Error::Memory { bytes, why };
    let size = usize::try_from(bytes).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
    let file = shared.then(|| memory_file(bytes)).transpose();
    let file = file.map_err(failed)?.map(Arc::new);
    let base = map_aligned(size, file.as_deref()).map_err(failed)?;
    let flags = if shared { SHARED } else { PRIVATE };
    let mut offset = 0;
    let mut regions = Vec::new();
    for (address, len) in ranges(bytes) {
        let len = len as usize;
        let mut region = MmapRegionBuilder::<()>::new(len)
            .with_mmap_prot(PROT)
            .with_mmap_flags(flags);
        if let Some(file) = &file {
            region = region.with_file_offset(FileOffset::from_arc(file.clone(), offset as u64));
        }
        // SAFETY: the piece lies inside the mapping, which is never unmapped, and
        // no other region covers it.
        let region = unsafe { region.with_raw_mmap_pointer(base.add(offset)) }.build();
        let region = region.map_err(|why| failed(io::Error::other(why)))?;
        regions.push(
            GuestRegionMmap::new(region, GuestAddress(address))
                .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?,
        );
        offset += len;
    }
    Memory::from_regions(regions).map_err(|why| failed(io::Error::other(why)))
}

/// A file in memory whose size can't be changed any more.
fn memory_file(bytes: u64) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 know nothing of executable memory files.
    let file = memfd_create("guest", flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create("guest", flags))?;
    rustix::fs::ftruncate(&file, bytes)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// Maps `size` bytes, of a file if there is one, at a multiple of 2 MiB.
fn map_aligned(size: usize, file: Option<&File>) -> io::Result<*mut u8> {
    let room = size
        .checked_add(HUGE_PAGE)
        .ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: a new anonymous mapping at a place of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), room, PROT, PRIVATE, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let skip = start.align_offset(HUGE_PAGE);
    // SAFETY: the mapping has room for `size` bytes after less than one huge page.
    let aligned = unsafe { start.cast::<u8>().add(skip) };
    if let Some(file) = file {
        let flags = SHARED | libc::MAP_FIXED;
        // SAFETY: it replaces a part of the mapping just made, which nobody uses yet.
        let mapped = unsafe { libc::mmap(aligned.cast(), size, PROT, flags, file.as_raw_fd(), 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
    }
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
        for shared in [false, true] {
            check(&allocate(5 << 30, shared).unwrap(), shared);
        }
    }

    fn check(memory: &Memory, shared: bool) {
        for region in memory.iter() {
            assert_eq!(region.as_ptr() as usize % HUGE_PAGE, 0);
            let file = region
                .file_offset()
                .map(|file| file.file().set_len(1).is_err());
            assert_eq!(file, shared.then_some(true), "sealed");
        }
        memory.write_obj(7u64, GuestAddress((6 << 30) - 8)).unwrap();
        assert_eq!(
            memory.read_obj::<u64>(GuestAddress((6 << 30) - 8)).unwrap(),
            7
        );
        assert!(memory.read_obj::<u64>(GuestAddress(3 << 30)).is_err());
    }
}

//! Kernels: ELF files entered through their PVH note, and bzImages entered
//! through the 64-bit boot protocol.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::BorrowedFd;

use linux_loader::loader::elf::PvhBootCapability;
use linux_loader::loader::{self, BzImage, Elf, KernelLoader};
use vm_memory::GuestAddress;

use super::{Initrd, MapEntry, write};
use crate::cpu::registers::Entry;
use crate::layout;
use crate::machine::Error;
use crate::memory::Memory;
use crate::sys::Positioned;

/// Why a kernel or an initial RAM file system can't be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("read the kernel: {0}")]
    Read(io::Error),
    #[error("the kernel is neither an ELF file nor a bzImage")]
    UnknownFormat,
    #[error("load the kernel: {0}")]
    Loader(loader::Error),
    #[error("the kernel has no PVH entry (CONFIG_PVH)")]
    NoPvh,
    #[error(
        "the bzImage has no 64-bit entry (it is older than boot protocol 2.12, or for 32 bits)"
    )]
    No64Bit,
    #[error("read the initial RAM file system: {0}")]
    Initrd(io::Error),
    #[error(
        "the initial RAM file system of {0} bytes does not fit into the memory beside the kernel"
    )]
    InitrdTooLarge(u64),
}

/// A kernel in guest memory.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) entry: Entry,
    /// First byte behind it.
    pub(super) end: u64,
    /// The initial RAM file system must end below this.
    pub(super) initrd_limit: u64,
    /// `struct setup_header` as it is in a bzImage.
    setup_header: Vec<u8>,
}

/// Loads a kernel of either kind.
pub(super) fn load(memory: &Memory, file: BorrowedFd<'_>) -> Result<Loaded, LoadError> {
    let mut file = Positioned::new(file).map_err(LoadError::Read)?;
    let mut start = [0; 0x206];
    file.read_exact(&mut start).map_err(LoadError::Read)?;
    if start.starts_with(b"\x7fELF") {
        load_elf(memory, &mut file)
    } else if start.ends_with(b"HdrS") {
        load_bzimage(memory, &mut file)
    } else {
        Err(LoadError::UnknownFormat)
    }
}

fn load_elf(memory: &Memory, file: &mut Positioned<'_>) -> Result<Loaded, LoadError> {
    let result = Elf::load(memory, None, file, Some(GuestAddress(layout::HIGH_RAM)))
        .map_err(LoadError::Loader)?;
    let PvhBootCapability::PvhEntryPresent(ip) = result.pvh_boot_cap else {
        return Err(LoadError::NoPvh);
    };
    Ok(Loaded {
        entry: Entry::Pvh { ip: ip.0 },
        end: result.kernel_end,
        initrd_limit: layout::LOW_RAM_END,
        setup_header: Vec::new(),
    })
}

/// Offsets in the zero page and the image's first sectors (Linux, "The Linux/x86
/// Boot Protocol" and "zero-page").
mod offset {
    pub(super) const RSDP: usize = 0x70;
    pub(super) const E820_COUNT: usize = 0x1e8;
    pub(super) const HEADER: usize = 0x1f1;
    pub(super) const HEADER_END: usize = 0x201;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const LOADER: usize = 0x210;
    pub(super) const RAMDISK: usize = 0x218;
    pub(super) const RAMDISK_LEN: usize = 0x21c;
    pub(super) const CMDLINE: usize = 0x228;
    pub(super) const INITRD_MAX: usize = 0x22c;
    pub(super) const XLOADFLAGS: usize = 0x236;
    pub(super) const INIT_SIZE: usize = 0x260;
    pub(super) const E820: usize = 0x2d0;
}

/// `xloadflags`: the 64-bit entry is at 0x200.
const XLF_KERNEL_64: u16 = 1;
const ENTRY_64: u64 = 0x200;
/// A boot loader without a number of its own.
const LOADER_UNDEFINED: u8 = 0xff;

fn load_bzimage(memory: &Memory, file: &mut Positioned<'_>) -> Result<Loaded, LoadError> {
    let result = BzImage::load(memory, None, file, Some(GuestAddress(layout::HIGH_RAM)))
        .map_err(LoadError::Loader)?;
    let mut head = vec![0; 0x300];
    file.seek(SeekFrom::Start(0)).map_err(LoadError::Read)?;
    file.read_exact(&mut head).map_err(LoadError::Read)?;
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let u32_at =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if u16_at(offset::VERSION) < 0x20c || u16_at(offset::XLOADFLAGS) & XLF_KERNEL_64 == 0 {
        return Err(LoadError::No64Bit);
    }
    // The header ends where the jump at its second field leads to.
    let header_end = 0x202 + usize::from(head[offset::HEADER_END]);
    let load = result.kernel_load.0;
    // The image unpacks itself at its preferred address, 16 MiB as a rule.
    let unpacked = (16 << 20) + u64::from(u32_at(offset::INIT_SIZE));
    Ok(Loaded {
        entry: Entry::Linux64 {
            ip: load + ENTRY_64,
        },
        end: result.kernel_end.max(unpacked),
        initrd_limit: u64::from(u32_at(offset::INITRD_MAX)) + 1,
        setup_header: head[offset::HEADER..header_end.min(head.len())].to_vec(),
    })
}

/// Tells the kernel about command line, memory, initial RAM file system and ACPI.
pub(super) fn describe(
    memory: &Memory,
    kernel: &Loaded,
    map: &[MapEntry],
    initrd: Initrd,
    rsdp: u64,
) -> Result<(), Error> {
    match kernel.entry {
        Entry::Pvh { .. } => start_info(memory, map, initrd, rsdp),
        Entry::Linux64 { .. } => zero_page(memory, &kernel.setup_header, map, initrd, rsdp),
    }
}

/// Writes `struct hvm_start_info` and what it points to (Xen, `start_info.h`).
fn start_info(memory: &Memory, map: &[MapEntry], initrd: Initrd, rsdp: u64) -> Result<(), Error> {
    const MAGIC: u32 = 0x336e_c578;
    const VERSION: u32 = 1;
    let modules = u32::from(initrd.len > 0);
    let mut info = Vec::new();
    for word in [MAGIC, VERSION, 0, modules] {
        info.extend(word.to_le_bytes());
    }
    let modules_at = if modules > 0 { layout::PVH_MODULES } else { 0 };
    for address in [modules_at, layout::CMDLINE, rsdp, layout::PVH_MEMMAP] {
        info.extend(address.to_le_bytes());
    }
    info.extend((map.len() as u64).to_le_bytes());
    write(memory, layout::PVH_INFO, &info, "start info")?;

    let module: Vec<u8> = [initrd.start, initrd.len, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    write(memory, layout::PVH_MODULES, &module, "module list")?;

    let entries: Vec<u8> = map
        .iter()
        .flat_map(|entry| [entry.start, entry.len, u64::from(entry.kind)])
        .flat_map(u64::to_le_bytes)
        .collect();
    write(memory, layout::PVH_MEMMAP, &entries, "memory map")
}

/// Writes `struct boot_params`.
fn zero_page(
    memory: &Memory,
    header: &[u8],
    map: &[MapEntry],
    initrd: Initrd,
    rsdp: u64,
) -> Result<(), Error> {
    let mut page = vec![0u8; 4096];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(offset::HEADER, header);
    put(offset::RSDP, &rsdp.to_le_bytes());
    put(offset::LOADER, &[LOADER_UNDEFINED]);
    // All three lie below 4 GiB: `load` places them there.
    put(offset::CMDLINE, &(layout::CMDLINE as u32).to_le_bytes());
    put(offset::RAMDISK, &(initrd.start as u32).to_le_bytes());
    put(offset::RAMDISK_LEN, &(initrd.len as u32).to_le_bytes());
    put(offset::E820_COUNT, &[map.len() as u8]);
    for (index, entry) in map.iter().enumerate() {
        let at = offset::E820 + index * 20;
        put(at, &entry.start.to_le_bytes());
        put(at + 8, &entry.len.to_le_bytes());
        put(at + 16, &entry.kind.to_le_bytes());
    }
    write(memory, layout::ZERO_PAGE, &page, "zero page")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn try_load(content: &[u8]) -> Result<Loaded, LoadError> {
        let memory = memory::allocate(32 << 20, false).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        load(&memory, file.as_fd())
    }

    fn bzimage() -> Vec<u8> {
        let mut image = vec![0u8; 8192];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x1f1, &[1]);
        put(0x201, &[0x6a]);
        put(0x202, b"HdrS");
        put(0x206, &0x20fu16.to_le_bytes());
        put(0x211, &[1]);
        put(0x214, &0x10_0000u32.to_le_bytes());
        put(0x22c, &0x7fff_ffffu32.to_le_bytes());
        put(0x236, &1u16.to_le_bytes());
        image
    }

    #[test]
    fn a_bzimage_is_entered_in_64_bit_mode() {
        let loaded = try_load(&bzimage()).unwrap();
        assert_eq!(loaded.entry, Entry::Linux64 { ip: 0x10_0200 });
        assert_eq!(loaded.initrd_limit, 0x8000_0000);
        assert_eq!(loaded.setup_header.len(), 0x202 + 0x6a - 0x1f1);
    }

    #[test]
    fn files_that_are_no_kernel_are_refused() {
        let mut old = bzimage();
        old[0x236] = 0;
        let mut elf = vec![0u8; 4096];
        elf[..4].copy_from_slice(b"\x7fELF");
        let table: &[(&[u8], &str)] = &[
            (b"", "read the kernel"),
            (&[0; 4096], "neither"),
            (&old, "no 64-bit entry"),
            (&elf, "load the kernel"),
        ];
        for (content, expected) in table {
            let error = try_load(content).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} has no {expected:?}");
        }
    }
}

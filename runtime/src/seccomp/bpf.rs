//! The few instructions of classic BPF that filters are made of (bpf(4), and
//! `linux/bpf_common.h`), and the layout of what they read (`seccomp_data` in
//! seccomp(2)).

use isola_proto::spec::SockFilter;

pub(super) const LD_W_ABS: u16 = 0x20;
pub(super) const ALU_AND_K: u16 = 0x54;
pub(super) const JMP_JA: u16 = 0x05;
pub(super) const JMP_JEQ_K: u16 = 0x15;
pub(super) const JMP_JGT_K: u16 = 0x25;
pub(super) const JMP_JGE_K: u16 = 0x35;
pub(super) const RET_K: u16 = 0x06;

pub(super) const OFFSET_NR: u32 = 0;
pub(super) const OFFSET_ARCH: u32 = 4;
/// Bytes of `seccomp_data`.
pub(super) const DATA_SIZE: u32 = 64;

/// AUDIT_ARCH_X86_64 (`linux/audit.h`).
pub(super) const ARCH_X86_64: u32 = 0xc000_003e;
/// AUDIT_ARCH_I386.
pub(super) const ARCH_I386: u32 = 0x4000_0003;
/// Set in the numbers of x32 calls (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Longest filter that the kernel takes, in instructions (BPF_MAXINSNS).
pub(super) const MAX_INSTRUCTIONS: usize = 4096;

/// Offsets of an argument's lower and upper half; x86-64 is little-endian.
pub(super) fn argument_offsets(index: u8) -> (u32, u32) {
    let low = 16 + 8 * u32::from(index);
    (low, low + 4)
}

pub(super) fn load(offset: u32) -> SockFilter {
    SockFilter(LD_W_ABS, 0, 0, offset)
}

pub(super) fn and(mask: u32) -> SockFilter {
    SockFilter(ALU_AND_K, 0, 0, mask)
}

pub(super) fn jump(by: u32) -> SockFilter {
    SockFilter(JMP_JA, 0, 0, by)
}

pub(super) fn ret(value: u32) -> SockFilter {
    SockFilter(RET_K, 0, 0, value)
}

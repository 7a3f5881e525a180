//! Filters read as the kernel reads them: run on one call, or followed along
//! every path that some arguments could take.

use std::collections::BTreeSet;

use isola_proto::spec::SockFilter;

use super::bpf::{
    ALU_AND_K, ARCH_X86_64, DATA_SIZE, JMP_JA, JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, LD_W_ABS,
    OFFSET_ARCH, OFFSET_NR, RET_K,
};
use super::names;

/// SECCOMP_RET_ACTION_FULL: the action without its data.
const ACTION: u32 = 0xffff_0000;
const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;

/// What a filter returns for the call `number` with `args` made as x86-64;
/// `None` if the filter is not one that the kernel would take.
pub fn run(filter: &[SockFilter], number: u32, args: [u64; 6]) -> Option<u32> {
    run_as(filter, ARCH_X86_64, number, args)
}

/// The same for a call of another architecture.
pub(super) fn run_as(filter: &[SockFilter], arch: u32, number: u32, args: [u64; 6]) -> Option<u32> {
    let word = |offset: u32| {
        Some(match offset {
            OFFSET_NR => number,
            OFFSET_ARCH => arch,
            8 | 12 => 0,
            _ => {
                let arg = args[(offset.checked_sub(16)? / 8) as usize];
                if offset.is_multiple_of(8) {
                    arg as u32
                } else {
                    (arg >> 32) as u32
                }
            }
        })
    };
    returns(filter, word).into_iter().next()
}

/// Calls of x86-64 that `filter` lets through for some arguments at least; all
/// that are known for an empty filter.
pub fn allowed_syscalls(filter: &[SockFilter]) -> usize {
    let may = |number: u32| {
        let word = |offset| match offset {
            OFFSET_NR => Some(number),
            OFFSET_ARCH => Some(ARCH_X86_64),
            _ => None,
        };
        filter.is_empty()
            || returns(filter, word)
                .iter()
                .any(|value| matches!(value & ACTION, ALLOW | LOG))
    };
    names::all().filter(|(number, _)| may(*number)).count()
}

/// All values that a filter may return when `word` knows some of what it reads.
/// Jumps only go forward, so a path never comes back to where it was.
fn returns(filter: &[SockFilter], word: impl Fn(u32) -> Option<u32>) -> BTreeSet<u32> {
    let mut values = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut paths = vec![(0_usize, Some(0_u32))];
    while let Some((at, accumulator)) = paths.pop() {
        let Some(SockFilter(op, yes, no, k)) = filter.get(at).copied() else {
            continue;
        };
        if !seen.insert((at, accumulator)) {
            continue;
        }
        let branch = |holds: Option<bool>| {
            let (yes, no) = (at + 1 + usize::from(yes), at + 1 + usize::from(no));
            match holds {
                Some(true) => vec![yes],
                Some(false) => vec![no],
                None => vec![yes, no],
            }
        };
        let next = match op {
            RET_K => {
                values.insert(k);
                continue;
            }
            LD_W_ABS if k < DATA_SIZE && k.is_multiple_of(4) => {
                paths.push((at + 1, word(k)));
                continue;
            }
            ALU_AND_K => {
                paths.push((at + 1, accumulator.map(|value| value & k)));
                continue;
            }
            JMP_JA => vec![at + 1 + k as usize],
            JMP_JEQ_K => branch(accumulator.map(|value| value == k)),
            JMP_JGT_K => branch(accumulator.map(|value| value > k)),
            JMP_JGE_K => branch(accumulator.map(|value| value >= k)),
            _ => continue,
        };
        paths.extend(next.into_iter().map(|to| (to, accumulator)));
    }
    values
}

//! The device rules as a program for the kernel (BPF_PROG_TYPE_CGROUP_DEVICE):
//! version 2 has no devices controller, a program decides instead. Pure: rules
//! in, instructions out.

use super::device::{DeviceKind, DeviceRule};

/// One instruction of eBPF as the kernel takes it (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Registers by the part that they have here.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Opcodes (linux/bpf_common.h, linux/bpf.h).
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const MOVE_REGISTER: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const AND: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const JUMP_IF_NOT: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

/// BPF_DEVCG_DEV_*.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;
/// All bits of BPF_DEVCG_ACC_*.
const ANY_ACCESS: i32 = 7;

fn op(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: register,
        offset: 0,
        immediate,
    }
}

fn two(code: u8, to: u8, from: u8, offset: i16) -> Instruction {
    Instruction {
        code,
        registers: from << 4 | to,
        offset,
        immediate: 0,
    }
}

/// A program that permits what any one rule permits as a whole, as the devices
/// controller of version 1 does.
pub(crate) fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: access_type (kind in the low half, access in
    // the high half), major, minor; 32 bits each.
    let mut code = vec![
        two(LOAD_WORD, KIND, CONTEXT, 0),
        two(MOVE_REGISTER, ACCESS, KIND, 0),
        op(AND, KIND, 0xffff),
        op(SHIFT_RIGHT, ACCESS, 16),
        two(LOAD_WORD, MAJOR, CONTEXT, 4),
        two(LOAD_WORD, MINOR, CONTEXT, 8),
    ];
    rules.iter().for_each(|rule| append(&mut code, rule));
    code.extend([op(MOVE, RESULT, 0), op(EXIT, 0, 0)]);
    code
}

/// Tests one rule: permits, or goes on with what follows.
fn append(code: &mut Vec<Instruction>, rule: &DeviceRule) {
    let kind = match rule.kind {
        DeviceKind::Char => CHAR,
        DeviceKind::Block => BLOCK,
    };
    let mut tests = vec![op(JUMP_IF_NOT, KIND, kind)];
    let missing = ANY_ACCESS & !i32::from(rule.access.bits());
    if missing != 0 {
        tests.extend([
            two(MOVE_REGISTER, RESULT, ACCESS, 0),
            op(AND, RESULT, missing),
            op(JUMP_IF_NOT, RESULT, 0),
        ]);
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        // The kernel's numbers have 12 and 20 bits; a larger one matches nothing.
        match number.map(i32::try_from) {
            None => {}
            Some(Ok(number)) => tests.push(op(JUMP_IF_NOT, register, number)),
            Some(Err(_)) => return,
        }
    }
    let permit = [op(MOVE, RESULT, 1), op(EXIT, 0, 0)];
    let end = tests.len() + permit.len();
    for (index, test) in tests.iter_mut().enumerate() {
        if test.code == JUMP_IF_NOT {
            // Counted from the instruction after the jump; at most 7.
            test.offset = (end - index - 1) as i16;
        }
    }
    code.extend(tests);
    code.extend(permit);
}

#[cfg(test)]
mod tests {
    use super::super::device::Access;
    use super::*;

    /// Runs a program on one request, as the kernel would.
    fn permits(code: &[Instruction], kind: i32, access: u8, major: u32, minor: u32) -> bool {
        let context = [(kind as u32) | u32::from(access) << 16, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let Instruction {
                code: opcode,
                registers: names,
                offset,
                immediate,
            } = code[at];
            let (to, from) = (usize::from(names & 15), usize::from(names >> 4));
            at += 1;
            match opcode {
                LOAD_WORD => registers[to] = u64::from(context[offset as usize / 4]),
                MOVE => registers[to] = immediate as u64,
                MOVE_REGISTER => registers[to] = registers[from],
                AND => registers[to] &= immediate as u64,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_IF_NOT if registers[to] != immediate as u64 => at += offset as usize,
                JUMP_IF_NOT => {}
                EXIT => return registers[0] == 1,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    fn rule(kind: DeviceKind, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
        DeviceRule {
            kind,
            major,
            minor,
            access: Access::parse(access).unwrap(),
        }
    }

    #[test]
    fn requests_against_rules() {
        let code = program(&[
            rule(DeviceKind::Char, None, None, "m"),
            rule(DeviceKind::Char, Some(1), Some(3), "rwm"),
            rule(DeviceKind::Char, Some(136), None, "rw"),
            rule(DeviceKind::Block, Some(8), Some(0), "r"),
            rule(DeviceKind::Block, Some(u32::MAX), None, "rwm"),
        ]);
        let (make, read, write) = (1, 2, 4);
        for (kind, access, major, minor, expected) in [
            (CHAR, read, 1, 3, true),
            (CHAR, read | write | make, 1, 3, true),
            (CHAR, read, 1, 1, false),
            (CHAR, make, 1, 1, true),
            (CHAR, make | read, 1, 1, false),
            (CHAR, read | write, 136, 99, true),
            (CHAR, read | write | make, 136, 99, false),
            (BLOCK, read, 8, 0, true),
            (BLOCK, write, 8, 0, false),
            (BLOCK, read | write, 8, 0, false),
            (BLOCK, read, 8, 1, false),
            (BLOCK, make, 8, 1, false),
            (BLOCK, read, u32::MAX, 0, false),
        ] {
            assert_eq!(
                permits(&code, kind, access, major, minor),
                expected,
                "{kind} {access} {major}:{minor}"
            );
        }
    }

    #[test]
    fn no_rule_permits_nothing() {
        let code = program(&[]);
        assert_eq!(code.len(), 8);
        assert!(!permits(&code, CHAR, 2, 1, 3));
    }

    #[test]
    fn the_code_of_one_rule() {
        let code = program(&[rule(DeviceKind::Char, Some(1), None, "rw")]);
        let word = |code, registers, offset, immediate| Instruction {
            code,
            registers,
            offset,
            immediate,
        };
        assert_eq!(
            code,
            [
                word(0x61, 0x12, 0, 0),
                word(0xbf, 0x23, 0, 0),
                word(0x57, 0x02, 0, 0xffff),
                word(0x77, 0x03, 0, 16),
                word(0x61, 0x14, 4, 0),
                word(0x61, 0x15, 8, 0),
                word(0x55, 0x02, 6, 2),
                word(0xbf, 0x30, 0, 0),
                word(0x57, 0x00, 0, 1),
                word(0x55, 0x00, 3, 0),
                word(0x55, 0x04, 2, 1),
                word(0xb7, 0x00, 0, 1),
                word(0x95, 0x00, 0, 0),
                word(0xb7, 0x00, 0, 0),
                word(0x95, 0x00, 0, 0),
            ]
        );
    }
}

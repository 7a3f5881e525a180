//! What a profile's rules say about arguments of calls.

use serde::Deserialize;

use super::compile::{CompileError, Op, Test};
use super::profile::unsupported;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Arg {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// The test of one argument of the call `name`.
pub(super) fn test(name: &str, arg: &Arg) -> Result<Test, CompileError> {
    if arg.index > 5 {
        return unsupported(format!(
            "{name}: a call has the arguments 0 to 5, not {}",
            arg.index
        ));
    }
    let mut value = arg.value;
    let op = match arg.op.as_str() {
        "SCMP_CMP_EQ" => Op::Eq,
        "SCMP_CMP_NE" => Op::Ne,
        "SCMP_CMP_LT" => Op::Lt,
        "SCMP_CMP_LE" => Op::Le,
        "SCMP_CMP_GT" => Op::Gt,
        "SCMP_CMP_GE" => Op::Ge,
        "SCMP_CMP_MASKED_EQ" => {
            // Here `value` is the mask.
            value = arg.value_two;
            if value & !arg.value != 0 {
                return unsupported(format!(
                    "{name}: the value {value:#x} has bits outside of the mask {:#x}",
                    arg.value
                ));
            }
            Op::MaskedEq(arg.value)
        }
        other => return unsupported(format!("{name}: no comparison {other:?}")),
    };
    let narrow = is_narrow(name, arg.index) && value >> 32 == 0;
    Ok(Test {
        index: arg.index,
        op,
        value,
        narrow,
    })
}

/// Arguments that the kernel takes as 32 bits wide. A program may put anything
/// into the upper half of the register; were it compared, `socket` with 1 << 32
/// added to its family would not look like that family (CVE-2019-10063).
const NARROW: &[(&str, &[u8])] = &[
    ("arch_prctl", &[0]),
    ("bpf", &[0]),
    ("fcntl", &[0, 1]),
    ("futex", &[1]),
    ("getsockopt", &[0, 1, 2]),
    ("ioctl", &[0, 1]),
    ("keyctl", &[0]),
    ("personality", &[0]),
    ("prctl", &[0]),
    ("setns", &[0, 1]),
    ("setsockopt", &[0, 1, 2]),
    ("socket", &[0, 1, 2]),
    ("socketpair", &[0, 1, 2]),
];

fn is_narrow(name: &str, index: u8) -> bool {
    NARROW
        .iter()
        .any(|(call, indexes)| *call == name && indexes.contains(&index))
}

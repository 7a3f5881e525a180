//! A policy to classic BPF: a balanced tree over the numbers, so that any call is
//! decided in about eight comparisons, with a chain of tests where arguments
//! matter. Calls that are allowed whatever their arguments depend on the number
//! alone, which lets the kernel skip the filter for them (its action cache).

use std::collections::BTreeMap;

use isola_proto::spec::SockFilter;

use super::bpf::{
    ARCH_I386, ARCH_X86_64, JMP_JEQ_K, JMP_JGE_K, JMP_JGT_K, MAX_INSTRUCTIONS, OFFSET_ARCH,
    OFFSET_NR, X32_BIT, and, argument_offsets, jump, load, ret,
};

/// Why a profile can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Not JSON, or not of the form of a profile.
    #[error("not a seccomp profile: {0}")]
    Syntax(String),
    /// It asks for something that filters made here don't do.
    #[error("{0}")]
    Unsupported(String),
    /// It says two things at once.
    #[error("the call {0:?} is given two different actions")]
    Contradiction(String),
    /// More than the kernel takes.
    #[error("the profile needs {0} instructions, the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong(usize),
}

/// What happens to a call: the value that a filter returns (seccomp(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Log,
    /// `data` is for the tracer.
    Trace(u16),
    Errno(u16),
    Trap,
    KillThread,
    KillProcess,
}

impl Action {
    pub(super) fn value(self) -> u32 {
        match self {
            Action::Allow => 0x7fff_0000,
            Action::Log => 0x7ffc_0000,
            Action::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Trap => 0x0003_0000,
            Action::KillThread => 0,
            Action::KillProcess => 0x8000_0000,
        }
    }

    /// Whether the call is made.
    pub(super) fn permits(self) -> bool {
        matches!(self, Action::Allow | Action::Log)
    }
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// The argument under this mask equals the value.
    MaskedEq(u64),
}

/// A test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) index: u8,
    pub(super) op: Op,
    pub(super) value: u64,
    /// Only the lower half counts: the kernel takes the argument as an `int`, so
    /// that the upper half must not decide.
    pub(super) narrow: bool,
}

/// What happens to one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// Whatever its arguments; wins over `when`.
    pub(super) always: Option<Action>,
    /// The first whose tests all hold.
    pub(super) when: Vec<(Vec<Test>, Action)>,
}

/// A profile for one workload, conditions on capabilities decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// For calls without a decision.
    pub(super) default: Action,
    /// Calls of x86-64.
    pub(super) native: Calls,
    /// Calls of 32-bit programs; without, such a call ends the process.
    pub(super) compat: Option<Calls>,
}

/// What a policy says of one architecture's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    /// For numbers above this one, which newer kernels may have; `None` is the
    /// default action for them too.
    pub(super) beyond: Option<(u32, Action)>,
    /// By number.
    pub(super) decisions: BTreeMap<u32, Decision>,
}

const ENOSYS: u16 = libc::ENOSYS as u16;

/// The filter of a policy.
pub(super) fn compile(policy: &Policy) -> Result<Vec<SockFilter>, CompileError> {
    let kill = ret(Action::KillProcess.value());
    let mut native = vec![
        load(OFFSET_NR),
        SockFilter(JMP_JGE_K, 0, 1, X32_BIT),
        ret(Action::Errno(ENOSYS).value()),
    ];
    native.extend(tree(&leaves(policy.default, &policy.native)));
    let mut filter = vec![load(OFFSET_ARCH), SockFilter(JMP_JEQ_K, 1, 0, ARCH_X86_64)];
    match &policy.compat {
        None => {
            filter.push(kill);
            filter.extend(native);
        }
        Some(compat) => {
            filter.push(jump(native.len() as u32));
            filter.extend(native);
            // The architecture is still in the accumulator.
            filter.extend([
                SockFilter(JMP_JEQ_K, 1, 0, ARCH_I386),
                kill,
                load(OFFSET_NR),
            ]);
            filter.extend(tree(&leaves(policy.default, compat)));
        }
    }
    match filter.len() {
        length if length > MAX_INSTRUCTIONS => Err(CompileError::TooLong(length)),
        _ => Ok(filter),
    }
}

/// A range of numbers, by its first, and the code that decides them.
type Leaf = (u32, Vec<SockFilter>);

/// The code for every number from 0 on; neighbours with the same code are one.
fn leaves(default: Action, calls: &Calls) -> Vec<Leaf> {
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut push = |first: u32, code: Vec<SockFilter>| {
        if leaves.last().is_none_or(|(_, last)| *last != code) {
            leaves.push((first, code));
        }
    };
    let rest = vec![ret(default.value())];
    let mut next = 0;
    for (number, decision) in &calls.decisions {
        if *number > next {
            push(next, rest.clone());
        }
        push(*number, decide(decision, default));
        next = number + 1;
    }
    match calls.beyond {
        Some((last, action)) => {
            if last >= next {
                push(next, rest);
                next = last + 1;
            }
            push(next, vec![ret(action.value())]);
        }
        None => push(next, rest),
    }
    leaves
}

/// A tree of comparisons over leaves in order; the number is in the accumulator.
fn tree(leaves: &[Leaf]) -> Vec<SockFilter> {
    let [.., last] = leaves else {
        return Vec::new();
    };
    if leaves.len() == 1 {
        return last.1.clone();
    }
    let (below, above) = leaves.split_at(leaves.len() / 2);
    let pivot = above[0].0;
    let (below, above) = (tree(below), tree(above));
    let mut code = Vec::with_capacity(below.len() + above.len() + 2);
    match u8::try_from(below.len()) {
        Ok(skip) => code.push(SockFilter(JMP_JGE_K, skip, 0, pivot)),
        // A conditional jump reaches 255 instructions; a plain one any distance.
        Err(_) => code.extend([SockFilter(JMP_JGE_K, 0, 1, pivot), jump(below.len() as u32)]),
    }
    code.extend(below);
    code.extend(above);
    code
}

/// The code for one call.
fn decide(decision: &Decision, default: Action) -> Vec<SockFilter> {
    if let Some(action) = decision.always {
        return vec![ret(action.value())];
    }
    let mut code = Vec::new();
    for (tests, action) in &decision.when {
        code.extend(chain(tests, *action));
    }
    code.push(ret(default.value()));
    code
}

/// Where a comparison goes.
#[derive(Clone, Copy, PartialEq)]
enum Goto {
    /// The next instruction.
    Next,
    /// Behind this test: it holds.
    Holds,
    /// Behind the whole chain: it does not hold.
    Fails,
}

/// An instruction with jumps that are not counted yet.
struct Draft(u16, Goto, Goto, u32);

/// Tests that must all hold, and the action then; falls out at the end else.
fn chain(tests: &[Test], action: Action) -> Vec<SockFilter> {
    let drafts: Vec<Vec<Draft>> = tests.iter().map(draft).collect();
    let total: usize = drafts.iter().map(Vec::len).sum();
    let mut code = Vec::with_capacity(total + 1);
    for test in &drafts {
        let end = code.len() + test.len();
        for Draft(op, yes, no, value) in test {
            let here = code.len() + 1;
            // At most six tests of six instructions: every jump fits.
            let reach = |goto: &Goto| match goto {
                Goto::Next => 0,
                Goto::Holds => (end - here) as u8,
                Goto::Fails => (total + 1 - here) as u8,
            };
            code.push(SockFilter(*op, reach(yes), reach(no), *value));
        }
    }
    code.push(ret(action.value()));
    code
}

/// One comparison of 64 bits as comparisons of its halves, the upper one first.
fn draft(test: &Test) -> Vec<Draft> {
    use Goto::{Fails, Holds, Next};
    let (low_offset, high_offset) = argument_offsets(test.index);
    let (low, high) = (test.value as u32, (test.value >> 32) as u32);
    let plain = |SockFilter(op, _, _, value)| Draft(op, Next, Next, value);
    let (from_low, from_high) = (plain(load(low_offset)), plain(load(high_offset)));
    let end = |op, yes, no| Draft(op, yes, no, low);
    let last = match test.op {
        Op::Eq | Op::MaskedEq(_) => end(JMP_JEQ_K, Holds, Fails),
        Op::Ne => end(JMP_JEQ_K, Fails, Holds),
        Op::Gt => end(JMP_JGT_K, Holds, Fails),
        Op::Ge => end(JMP_JGE_K, Holds, Fails),
        Op::Lt => end(JMP_JGE_K, Fails, Holds),
        Op::Le => end(JMP_JGT_K, Fails, Holds),
    };
    let mut code = Vec::new();
    if !test.narrow {
        match test.op {
            Op::Eq => code.extend([from_high, Draft(JMP_JEQ_K, Next, Fails, high)]),
            Op::Ne => code.extend([from_high, Draft(JMP_JEQ_K, Next, Holds, high)]),
            Op::MaskedEq(mask) if mask >> 32 == 0 => {}
            Op::MaskedEq(mask) => {
                let masked = plain(and((mask >> 32) as u32));
                code.extend([from_high, masked, Draft(JMP_JEQ_K, Next, Fails, high)]);
            }
            Op::Gt | Op::Ge => code.extend([
                from_high,
                Draft(JMP_JGT_K, Holds, Next, high),
                Draft(JMP_JEQ_K, Next, Fails, high),
            ]),
            Op::Lt | Op::Le => code.extend([
                from_high,
                Draft(JMP_JGT_K, Fails, Next, high),
                Draft(JMP_JEQ_K, Next, Holds, high),
            ]),
        }
    }
    code.push(from_low);
    if let Op::MaskedEq(mask) = test.op {
        code.push(plain(and(mask as u32)));
    }
    code.push(last);
    code
}

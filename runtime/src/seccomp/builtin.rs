//! The tool's own profile: what is not listed is refused with EPERM, and what is
//! newer than the lists with ENOSYS. Every call of x86-64 stands in exactly one
//! list (a test sees to it), so that a new one is looked at before it is let in.
//! The semantics are those that Docker's users know.

use std::collections::BTreeMap;

use super::Grants;
use super::builtin_calls::{ALLOWED, ALLOWED32, CONDITIONAL, CONDITIONAL32};
use super::compile::{Action, Calls, Decision, Op, Policy, Test};
use super::names::{highest, highest32, number_of, number32_of};

const EPERM: Action = Action::Errno(libc::EPERM as u16);
const ENOSYS: Action = Action::Errno(libc::ENOSYS as u16);

/// Flags of clone(2) that make a namespace.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64
    & 0xffff_ffff;

/// Values of personality(2): PER_LINUX, PER_LINUX32, both with UNAME26, and "tell
/// me". None that switches address randomisation off or makes memory executable.
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile for a workload with these grants. 32-bit programs may do what
/// others may.
pub(super) fn policy(grants: &Grants<'_>) -> Policy {
    Policy {
        default: EPERM,
        native: Calls {
            beyond: Some((highest(), ENOSYS)),
            decisions: decisions(grants, number_of),
        },
        compat: Some(Calls {
            beyond: Some((highest32(), ENOSYS)),
            decisions: decisions(grants, number32_of),
        }),
    }
}

/// What the lists say of the calls that have a number.
fn decisions(grants: &Grants<'_>, number_of: fn(&str) -> Option<u32>) -> BTreeMap<u32, Decision> {
    let mut decisions = BTreeMap::new();
    let mut set = |name: &str, decision: Decision| {
        if let Some(number) = number_of(name) {
            decisions.insert(number, decision);
        }
    };
    let allow = || Decision {
        always: Some(Action::Allow),
        when: Vec::new(),
    };
    let allowed = ALLOWED.iter().flat_map(|(_, names)| *names);
    for name in allowed.chain(ALLOWED32) {
        set(name, allow());
    }
    for (capabilities, names) in CONDITIONAL.iter().chain(CONDITIONAL32) {
        if capabilities.iter().any(|capability| grants.has(capability)) {
            names.iter().for_each(|name| set(name, allow()));
        }
    }
    let when = |tests: Vec<Test>| Decision {
        always: None,
        when: tests
            .into_iter()
            .map(|t| (vec![t], Action::Allow))
            .collect(),
    };
    let narrow = |index, op, value| Test {
        index,
        op,
        value,
        narrow: true,
    };
    set(
        "personality",
        when(
            PERSONALITIES
                .iter()
                .map(|value| narrow(0, Op::Eq, *value))
                .collect(),
        ),
    );
    // Sockets to the hypervisor or the host would go around every network.
    set(
        "socket",
        when(vec![narrow(0, Op::Ne, libc::AF_VSOCK as u64)]),
    );
    if !grants.has("CAP_SYS_ADMIN") {
        set("clone", when(vec![narrow(0, Op::MaskedEq(NAMESPACES), 0)]));
        // Its flags are in memory, where a filter can't look. With ENOSYS the C
        // library takes clone instead.
        set(
            "clone3",
            Decision {
                always: Some(ENOSYS),
                when: Vec::new(),
            },
        );
    }
    decisions
}

//! Tables of calls and what becomes of them.

use super::bpf::{MAX_INSTRUCTIONS, X32_BIT};
use super::builtin_calls::{ALLOWED, CONDITIONAL, REFUSED, TESTED};
use super::trace::run_as;
use super::*;

pub(super) const ALLOW: u32 = 0x7fff_0000;
pub(super) const LOG: u32 = 0x7ffc_0000;
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
const fn errno(number: i32) -> u32 {
    0x0005_0000 | number as u32
}
pub(super) const EPERM: u32 = errno(libc::EPERM);
pub(super) const ENOSYS: u32 = errno(libc::ENOSYS);

pub(super) fn call(filter: &[SockFilter], name: &str, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    run(
        filter,
        number_of(name).unwrap_or_else(|| panic!("no call {name}")),
        all,
    )
    .unwrap()
}

pub(super) fn builtin(capabilities: &[&str]) -> Vec<SockFilter> {
    let capabilities: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
    default_filter(&Grants {
        capabilities: &capabilities,
        kernel: (6, 12),
    })
}

pub(super) fn profile(json: &str) -> Result<Vec<SockFilter>, CompileError> {
    compile_profile(
        json.as_bytes(),
        &Grants {
            capabilities: &["CAP_CHOWN".to_owned()],
            kernel: (6, 1),
        },
    )
}

#[test]
fn the_built_in_profile_decides_each_call() {
    let filter = builtin(&["CAP_CHOWN", "CAP_SYS_CHROOT"]);
    let high = 1 << 32;
    let table: &[(&str, &[u64], u32)] = &[
        ("read", &[], ALLOW),
        ("execve", &[], ALLOW),
        ("ptrace", &[], ALLOW),
        ("chroot", &[], ALLOW),
        ("mount", &[], EPERM),
        ("unshare", &[0x1000_0000], EPERM),
        ("setns", &[], EPERM),
        ("bpf", &[], EPERM),
        ("keyctl", &[], EPERM),
        ("userfaultfd", &[], EPERM),
        ("perf_event_open", &[], EPERM),
        ("io_uring_setup", &[], EPERM),
        ("kexec_load", &[], EPERM),
        ("clone", &[0x11], ALLOW),
        ("clone", &[libc::CLONE_NEWUSER as u64], EPERM),
        ("clone", &[libc::CLONE_NEWNS as u64 | 0x11], EPERM),
        ("clone", &[high | libc::CLONE_NEWUSER as u64], EPERM),
        ("clone3", &[], ENOSYS),
        ("personality", &[0], ALLOW),
        ("personality", &[0x0004_0000], EPERM),
        ("personality", &[0xffff_ffff], ALLOW),
        ("socket", &[libc::AF_INET as u64], ALLOW),
        ("socket", &[libc::AF_VSOCK as u64], EPERM),
        // The kernel looks at the lower half only, so must the filter.
        ("socket", &[high | libc::AF_VSOCK as u64], EPERM),
        ("socket", &[high | libc::AF_INET as u64], ALLOW),
    ];
    for (name, args, wanted) in table {
        assert_eq!(call(&filter, name, args), *wanted, "{name} {args:x?}");
    }
    for number in [
        highest() + 1,
        1000,
        X32_BIT - 1,
        X32_BIT,
        X32_BIT + 1,
        u32::MAX,
    ] {
        assert_eq!(run(&filter, number, [0; 6]), Some(ENOSYS), "{number:#x}");
    }
    assert_eq!(
        run_as(&filter, 0xc000_00b7, 1, [0; 6]),
        Some(KILL_PROCESS),
        "no architecture of this machine"
    );
}

#[test]
fn capabilities_open_their_calls() {
    for (capabilities, names) in CONDITIONAL {
        for name in *names {
            let without = if TESTED.contains(name) {
                &libc::CLONE_NEWUSER
            } else {
                &0
            };
            assert_ne!(
                call(&builtin(&[]), name, &[*without as u64]),
                ALLOW,
                "{name}"
            );
            for capability in *capabilities {
                assert_eq!(
                    call(&builtin(&[capability]), name, &[*without as u64]),
                    ALLOW,
                    "{name} {capability}"
                );
            }
        }
    }
}

#[test]
fn every_call_stands_in_one_list() {
    let mut listed: Vec<&str> = ALLOWED
        .iter()
        .chain(REFUSED)
        .flat_map(|(_, names)| *names)
        .copied()
        .collect();
    listed.extend(
        CONDITIONAL
            .iter()
            .flat_map(|(_, names)| *names)
            .filter(|name| !TESTED.contains(name)),
    );
    listed.extend(TESTED);
    listed.sort_unstable();
    let mut known: Vec<&str> = names::all().map(|(_, name)| name).collect();
    known.sort_unstable();
    let unlisted: Vec<_> = known.iter().filter(|name| !listed.contains(name)).collect();
    let unknown: Vec<_> = listed.iter().filter(|name| !known.contains(name)).collect();
    assert!(
        unlisted.is_empty() && unknown.is_empty(),
        "unlisted {unlisted:?}, unknown {unknown:?}"
    );
    assert!(
        listed.windows(2).all(|pair| pair[0] != pair[1]),
        "a call is listed twice"
    );
}

#[test]
fn allowed_calls_are_counted() {
    let all = names::all().count();
    let few = allowed_syscalls(&builtin(&[]));
    let more = allowed_syscalls(&builtin(&["CAP_SYS_ADMIN"]));
    let always: usize = ALLOWED.iter().map(|(_, names)| names.len()).sum();
    // clone, personality and socket are allowed for some arguments.
    assert_eq!(few, always + 3);
    assert!(few < more && more < all, "{few} {more} {all}");
    assert_eq!(allowed_syscalls(&[]), all);
}

#[test]
fn comparisons_hold_over_64_bits() {
    let big = 0x1_0000_0005_u64;
    let around = [0, 4, 5, 6, big - 1, big, big + 1, 0x2_0000_0000, u64::MAX];
    type Holds = fn(u64, u64) -> bool;
    let ops: [(&str, Holds); 6] = [
        ("EQ", |a, b| a == b),
        ("NE", |a, b| a != b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
        ("GT", |a, b| a > b),
        ("GE", |a, b| a >= b),
    ];
    for (op, holds) in ops {
        for value in [0, 5, big, u64::MAX] {
            let json = format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["write"],"action":"SCMP_ACT_LOG",
                "args":[{{"index":2,"value":{value},"op":"SCMP_CMP_{op}"}}]}}]}}"#
            );
            let filter = profile(&json).unwrap();
            for arg in around {
                let wanted = if holds(arg, value) { LOG } else { EPERM };
                assert_eq!(
                    call(&filter, "write", &[0, 0, arg]),
                    wanted,
                    "{arg:#x} {op} {value:#x}"
                );
            }
        }
    }
    for (mask, value, arg, holds) in [
        (0xf0, 0x20, 0x2f, true),
        (0xf0, 0x20, 0x3f, false),
        (big, big, u64::MAX, true),
        (big, big, 5, false),
    ] {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["write"],"action":"SCMP_ACT_KILL_PROCESS",
            "args":[{{"index":5,"value":{mask},"valueTwo":{value},"op":"SCMP_CMP_MASKED_EQ"}}]}}]}}"#
        );
        let wanted = if holds { KILL_PROCESS } else { ALLOW };
        assert_eq!(
            call(&profile(&json).unwrap(), "write", &[0, 0, 0, 0, 0, arg]),
            wanted
        );
    }
}

#[test]
fn a_profile_in_dockers_form() {
    let json = r#"{
      "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
      "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
      "syscalls": [
        {"names": ["read", "chown32", "arm_fadvise64_64"], "action": "SCMP_ACT_ALLOW", "comment": "c"},
        {"names": ["chown"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["umount2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
        {"names": ["sync"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390", "s390x"]}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
        {"name": "socket", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
          {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
        {"names": ["semctl"], "action": "SCMP_ACT_TRACE", "errnoRet": 7}
      ]}"#;
    let filter = profile(json).unwrap();
    let table: &[(&str, &[u64], u32)] = &[
        ("read", &[], ALLOW),
        ("write", &[], ENOSYS),
        ("chown", &[], ALLOW),
        ("mount", &[], ENOSYS),
        ("umount2", &[], EPERM),
        ("ptrace", &[], ALLOW),
        ("bpf", &[], ENOSYS),
        ("sync", &[], ENOSYS),
        ("arch_prctl", &[], ALLOW),
        ("socket", &[2], ALLOW),
        ("socket", &[1 << 32 | 40], ENOSYS),
        ("personality", &[8], ALLOW),
        ("personality", &[9], ENOSYS),
        ("semctl", &[], 0x7ff0_0007),
    ];
    for (name, args, wanted) in table {
        assert_eq!(call(&filter, name, args), *wanted, "{name} {args:x?}");
    }
}

#[test]
fn the_order_of_rules_and_the_default() {
    let filter = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}],"errnoRet":22},
        {"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":9,"op":"SCMP_CMP_LT"}]},
        {"names":["read"],"action":"SCMP_ACT_ERRNO"}]}"#,
    )
    .unwrap();
    assert_eq!(call(&filter, "read", &[5]), errno(22));
    assert_eq!(call(&filter, "read", &[6]), ALLOW);
    assert_eq!(call(&filter, "read", &[9]), EPERM);
    // No error number is given for the rest, so newer calls look absent.
    assert_eq!(call(&filter, "close", &[]), ENOSYS);
}

#[test]
fn long_filters_jump_far() {
    // Every call with six tests of arguments of its own.
    let rules: Vec<String> = names::all()
        .take(90)
        .map(|(number, name)| {
            let arg = |i: u32| {
                format!(
                    r#"{{"index":{i},"value":{},"op":"SCMP_CMP_GE"}}"#,
                    u64::from(number) << 31
                )
            };
            let args: Vec<String> = (0..6).map(arg).collect();
            format!(
                r#"{{"names":["{name}"],"action":"SCMP_ACT_ALLOW","args":[{}]}}"#,
                args.join(",")
            )
        })
        .collect();
    let json = format!(
        r#"{{"defaultAction":"SCMP_ACT_TRAP","syscalls":[{}]}}"#,
        rules.join(",")
    );
    let filter = profile(&json).unwrap();
    assert!(filter.len() > 2000 && filter.len() <= MAX_INSTRUCTIONS);
    for (number, name) in names::all().take(90) {
        let enough = u64::from(number) << 31;
        assert_eq!(call(&filter, name, &[enough; 6]), ALLOW, "{name}");
        let mut less = [enough; 6];
        less[5] = enough.wrapping_sub(1);
        let wanted = if number == 0 { ALLOW } else { 0x0003_0000 };
        assert_eq!(call(&filter, name, &less), wanted, "{name}");
    }
}

#[test]
fn profiles_that_cannot_be_carried_out_are_refused() {
    let with = |rest: &str| format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW",{rest}}}"#);
    let rule = |rest: &str| with(&format!(r#""syscalls":[{{"names":["read"],{rest}}}]"#));
    let table = [
        ("{".to_owned(), "not a seccomp profile"),
        ("[]".to_owned(), "not a seccomp profile"),
        (r#"{"syscalls":[]}"#.to_owned(), "defaultAction"),
        (
            r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#.to_owned(),
            "SCMP_ACT_MAYBE",
        ),
        (with(r#""defaultErrnoRet":5"#), "carries no error number"),
        (
            with(r#""architectures":["SCMP_ARCH_ARM"]"#),
            "not for x86-64",
        ),
        (with(r#""flags":["SECCOMP_FILTER_FLAG_LOG"]"#), "FLAG_LOG"),
        (with(r#""listenerPath":"/x""#), "listener"),
        (with(r#""surprise":1"#), "surprise"),
        (rule(r#""action":"SCMP_ACT_NOTIFY""#), "SCMP_ACT_NOTIFY"),
        (rule(r#""action":"SCMP_ACT_ERRNO","errnoRet":5000"#), "4095"),
        (
            rule(r#""action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]"#),
            "0 to 5",
        ),
        (
            rule(r#""action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":0,"op":"SCMP_CMP_IS"}]"#),
            "SCMP_CMP_IS",
        ),
        (
            rule(
                r#""action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}]"#,
            ),
            "outside of the mask",
        ),
        (
            with(r#""syscalls":[{"names":["raed"],"action":"SCMP_ACT_ERRNO"}]"#),
            "raed",
        ),
        (
            with(
                r#""syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO"},{"names":["read"],"action":"SCMP_ACT_KILL"}]"#,
            ),
            "two different actions",
        ),
        (
            with(
                r#""syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL","includes":{"minKernel":"x"}}]"#,
            ),
            "kernel's version",
        ),
    ];
    for (json, part) in table {
        let error = profile(&json).expect_err(&json).to_string();
        assert!(error.contains(part), "{json}: {error}");
    }
}

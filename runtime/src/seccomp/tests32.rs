//! What becomes of the calls of 32-bit programs.

use super::bpf::ARCH_I386;
use super::builtin_calls::{ALLOWED32, CONDITIONAL32, REFUSED32};
use super::tests::{ALLOW, ENOSYS, EPERM, KILL_PROCESS, LOG, builtin, call, profile};
use super::trace::run_as;
use super::*;

fn call32(filter: &[SockFilter], name: &str, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let number = names::number32_of(name).unwrap_or_else(|| panic!("no call {name}"));
    run_as(filter, ARCH_I386, number, all).unwrap()
}

#[test]
fn programs_of_32_bits_may_do_what_others_may() {
    for capabilities in [&[][..], &["CAP_SYS_ADMIN"], &["CAP_SYS_TIME"]] {
        let filter = builtin(capabilities);
        for (_, name) in names::all32().filter(|(_, name)| number_of(name).is_some()) {
            let flags = [libc::CLONE_NEWUSER as u64];
            for args in [&[][..], &flags, &[libc::AF_VSOCK as u64]] {
                assert_eq!(
                    call32(&filter, name, args),
                    call(&filter, name, args),
                    "{name} {args:x?} {capabilities:?}"
                );
            }
        }
        for name in ALLOWED32 {
            assert_eq!(call32(&filter, name, &[]), ALLOW, "{name}");
        }
        for name in ["vm86", "vm86old", "readdir"] {
            assert_eq!(call32(&filter, name, &[]), EPERM, "{name}");
        }
        let wanted = |with| match capabilities == [with] {
            true => ALLOW,
            false => EPERM,
        };
        assert_eq!(call32(&filter, "umount", &[]), wanted("CAP_SYS_ADMIN"));
        assert_eq!(call32(&filter, "stime", &[]), wanted("CAP_SYS_TIME"));
        let newer = names::highest32() + 1;
        assert_eq!(run_as(&filter, ARCH_I386, newer, [0; 6]), Some(ENOSYS));
    }
}

#[test]
fn every_call_of_32_bit_programs_stands_in_one_list() {
    let only = ALLOWED32
        .iter()
        .chain(CONDITIONAL32.iter().flat_map(|(_, names)| *names))
        .chain(REFUSED32);
    let mut only: Vec<&str> = only.copied().collect();
    only.sort_unstable();
    let mut known: Vec<&str> = names::all32()
        .map(|(_, name)| name)
        .filter(|name| number_of(name).is_none())
        .collect();
    known.sort_unstable();
    assert_eq!(only, known);
}

#[test]
fn profiles_are_for_32_bit_programs_where_they_say_so() {
    let rules = r#""syscalls":[{"names":["read","chown32"],"action":"SCMP_ACT_LOG"},
        {"names":["clone"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]}]"#;
    let map =
        r#""archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]"#;
    let list = r#""architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"]"#;
    for with in [map, list] {
        let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO",{with},{rules}}}"#);
        let filter = profile(&json).unwrap();
        for (name, args, wanted) in [
            ("read", &[][..], LOG),
            ("chown32", &[], LOG),
            ("write", &[], EPERM),
            ("clone", &[5], LOG),
            ("clone", &[6], EPERM),
            ("statx", &[], ENOSYS),
        ] {
            assert_eq!(call32(&filter, name, args), wanted, "{name} {args:?}");
        }
        assert_eq!(call(&filter, "read", &[]), LOG);
    }
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO",{rules}}}"#);
    let filter = profile(&json).unwrap();
    assert_eq!(call32(&filter, "read", &[]), KILL_PROCESS);
}

#[test]
fn no_rule_is_gone_around_by_a_multiplexed_call() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW",
        "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[
        {"names":["socket"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":40,"op":"SCMP_CMP_EQ"}]},
        {"names":["shmctl"],"action":"SCMP_ACT_ERRNO"}]}"#;
    let filter = profile(json).unwrap();
    for (name, args, wanted) in [
        ("socket", [2], ALLOW),
        ("socket", [40], EPERM),
        ("socketcall", [1], EPERM),
        ("socketcall", [2], ALLOW),
        ("shmctl", [0], EPERM),
        ("ipc", [24], EPERM),
        ("ipc", [0x1_0018], EPERM),
        ("ipc", [23], ALLOW),
    ] {
        assert_eq!(call32(&filter, name, &args), wanted, "{name} {args:?}");
    }
}

//! System calls by name and number.

use std::str::FromStr;

use syscalls::x86::Sysno as Sysno32;
use syscalls::x86_64::Sysno;

/// The number of an x86-64 call.
pub fn number_of(name: &str) -> Option<u32> {
    Sysno::from_str(name).ok().map(|sysno| sysno as u32)
}

/// The name of an x86-64 call.
pub fn name_of(number: u32) -> Option<&'static str> {
    Sysno::new(number as usize).map(|sysno| sysno.name())
}

/// All x86-64 calls that are known, in the order of their numbers.
pub(super) fn all() -> impl Iterator<Item = (u32, &'static str)> {
    (0..=highest()).filter_map(|number| Some((number, name_of(number)?)))
}

/// The number that a call of this name has in a 32-bit program.
pub(super) fn number32_of(name: &str) -> Option<u32> {
    Sysno32::from_str(name).ok().map(|sysno| sysno as u32)
}

/// As [`highest`], of 32-bit programs.
pub(super) fn highest32() -> u32 {
    Sysno32::last() as u32
}

/// All calls of 32-bit programs that are known, in the order of their numbers.
#[cfg(test)]
pub(super) fn all32() -> impl Iterator<Item = (u32, &'static str)> {
    (0..=highest32()).filter_map(|number| {
        let call = Sysno32::new(number as usize)?;
        // The crate writes one that is a word of Rust's as an identifier.
        Some((number, call.name().trim_start_matches("r#")))
    })
}

/// 32-bit programs may make some calls by way of another one, whose first argument
/// says which (socketcall(2), ipc(2)). Gives that one's name and the argument.
pub(super) fn multiplexed(name: &str) -> Option<(&'static str, u64)> {
    // linux/net.h, in the order of SYS_SOCKET and the following.
    #[rustfmt::skip]
    const SOCKETCALL: [&str; 20] = [
        "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername",
        "socketpair", "send", "recv", "sendto", "recvfrom", "shutdown", "setsockopt",
        "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg",
    ];
    // linux/ipc.h.
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    let socket = SOCKETCALL.iter().position(|call| *call == name);
    let ipc = IPC.iter().find(|(call, _)| *call == name);
    socket
        .map(|at| ("socketcall", at as u64 + 1))
        .or(ipc.map(|(_, number)| ("ipc", *number)))
}

/// The highest number known; a kernel newer than this program may have more.
pub fn highest() -> u32 {
    Sysno::last() as u32
}

/// Whether another architecture has a call of this name: profiles list those,
/// too, and for this one they mean nothing.
pub(super) fn is_foreign(name: &str) -> bool {
    // Private calls of 32-bit ARM, which are not in its table.
    const ARM_PRIVATE: [&str; 5] = ["breakpoint", "cacheflush", "set_tls", "usr26", "usr32"];
    syscalls::x86::Sysno::from_str(name).is_ok()
        || syscalls::arm::Sysno::from_str(name).is_ok()
        || syscalls::aarch64::Sysno::from_str(name).is_ok()
        || syscalls::powerpc64::Sysno::from_str(name).is_ok()
        || syscalls::s390x::Sysno::from_str(name).is_ok()
        || syscalls::mips64::Sysno::from_str(name).is_ok()
        || syscalls::riscv64::Sysno::from_str(name).is_ok()
        || ARM_PRIVATE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_c_library() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("socket", libc::SYS_socket),
            ("umount2", libc::SYS_umount2),
        ] {
            assert_eq!(number_of(name).map(i64::from), Some(number), "{name}");
            assert_eq!(name_of(number as u32), Some(name));
        }
        assert_eq!((number_of("chown32"), name_of(400)), (None, None));
        assert!(is_foreign("chown32") && is_foreign("arm_fadvise64_64") && !is_foreign("raed"));
    }
}

//! System calls by name and number.

use std::str::FromStr;

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

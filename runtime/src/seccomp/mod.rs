//! Seccomp filters: profiles in, classic BPF out (seccomp(2)). No kernel is
//! asked; the filter is installed by whoever starts the process.
//!
//! Filters are for x86-64 and, where the profile names it (as the built-in one and
//! Docker's do), for 32-bit programs: the same names under i386's numbers, and the
//! calls that only those have. Else a 32-bit call (`int 0x80`) ends the process. A
//! call of the x32 ABI gets ENOSYS, as on a kernel built without it.

mod arguments;
mod bpf;
mod builtin;
mod builtin_calls;
mod compile;
mod names;
mod profile;
mod trace;

use isola_proto::spec::SockFilter;

pub use compile::CompileError;
pub use names::{highest, name_of, number_of};
pub use trace::{allowed_syscalls, run};

/// What decides over the conditional parts of a profile.
#[derive(Clone, Copy, Debug)]
pub struct Grants<'a> {
    /// Capabilities of the workload, as `CAP_CHOWN`.
    pub capabilities: &'a [String],
    /// First two numbers of the kernel's version.
    pub kernel: (u32, u32),
}

impl Grants<'_> {
    fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|have| have == capability)
    }
}

/// The tool's own profile, compiled.
///
/// # Panics
/// Never: a test compiles it for every capability.
pub fn default_filter(grants: &Grants<'_>) -> Vec<SockFilter> {
    compile::compile(&builtin::policy(grants)).expect("the built-in profile compiles")
}

/// A profile in JSON, either as the OCI runtime specification has it
/// ("Seccomp") or as Docker has it, compiled.
///
/// # Errors
/// What in the profile can't be carried out.
pub fn compile_profile(json: &[u8], grants: &Grants<'_>) -> Result<Vec<SockFilter>, CompileError> {
    compile::compile(&profile::parse(json, grants)?)
}

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests32;

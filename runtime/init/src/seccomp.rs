//! The workload's system call filter, installed as the last thing but execve.

use isola_proto::Failure;
use isola_proto::spec::SockFilter;

use crate::error::{Setup, failure};
use crate::sys;

/// BPF_MAXINSNS of linux/bpf_common.h.
const LONGEST: usize = 4096;

/// Checks the length; the kernel checks the rest.
pub(crate) fn check(filter: &[SockFilter]) -> Result<(), Failure> {
    if filter.len() > LONGEST {
        return Err(failure(format!(
            "the seccomp filter has {} instructions, over {LONGEST}",
            filter.len()
        )));
    }
    Ok(())
}

/// Installs the filter.
pub(crate) fn install(filter: &[SockFilter]) -> Result<(), Failure> {
    sys::seccomp_filter(filter).setup(|| "install the seccomp filter".to_owned())
}

//! bpf(2): loads a device program and ties it to a cgroup. It goes with the cgroup.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::bpf::Instruction;

/// Commands and types (linux/bpf.h).
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs of the groups above still decide, too.
const ALLOW_MULTI: u32 = 2;

/// The first members of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The first members of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_kind: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a live, fully initialised
    // structure that starts as `union bpf_attr` does for this command.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Lets `program` decide about devices for all processes in the version 2 cgroup
/// at `group`.
///
/// # Errors
/// Those of bpf(2): EPERM without CAP_BPF or CAP_SYS_ADMIN, EINVAL from a kernel
/// built without CONFIG_CGROUP_BPF.
pub(crate) fn attach(program: &[Instruction], group: &Path) -> io::Result<()> {
    let folder = File::open(group)?;
    let license = c"Apache-2.0";
    let load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let number = bpf(PROG_LOAD, &load)?;
    let number = libc::c_int::try_from(number).map_err(io::Error::other)?;
    // SAFETY: BPF_PROG_LOAD returned a new descriptor that nothing else owns.
    let loaded = unsafe { OwnedFd::from_raw_fd(number) };
    let tie = Attach {
        target: folder.as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        attach_kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &tie).map(drop)
}

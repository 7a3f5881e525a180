//! `Boot`: from what the host says to a guest that can start a sandbox.

use std::path::Path;

use isola_proto::Failure;
use isola_proto::message::GuestSpec;
use rustix::time::{ClockId, Timespec, clock_settime};

use super::cgroup::Group;
use super::{disks, links, setup, sys, volumes};

/// Puts the guest together. Returns the control group of the sandbox.
pub(super) fn boot(guest: &GuestSpec) -> Result<Group, Failure> {
    if guest.time_ns > 0 {
        let time = Timespec {
            tv_sec: (guest.time_ns / 1_000_000_000).cast_signed(),
            tv_nsec: (guest.time_ns % 1_000_000_000).cast_signed(),
        };
        clock_settime(ClockId::Realtime, time)
            .map_err(|error| setup(format!("can't set the clock: {error}")))?;
    }
    if !guest.entropy.is_empty() {
        sys::add_entropy(&guest.entropy)
            .map_err(|error| setup(format!("can't seed the random generator: {error}")))?;
    }
    disks::assemble(guest)?;
    volumes::mount_all(guest)?;
    links::boot(&guest.interfaces)?;
    Group::make(
        Path::new("/sys/fs/cgroup"),
        guest.pids_limit,
        guest.cpu_percent,
    )
}

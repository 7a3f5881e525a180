//! Volumes with the real kernel: loop devices, mount namespaces, killed processes.
//! Needs root; says so where it is not.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod archives;
mod content;
mod disks;
mod support;

//! Isola's machine monitor on KVM: one guest per process, every descriptor given
//! by the parent.
//!
//! The crate knows no image, no network policy and no OCI. A caller builds a
//! [`VmConfig`] (pure data), starts the program `isola-vmm --config-fd N` in a
//! sandbox, and reads its exit code as an [`Outcome`]. [`probe::probe`] tells
//! whether KVM on this host can run a guest at all.
//!
//! # Threads
//! `main` builds the machine and then turns into the event loop (console, vsock,
//! random numbers, control); each disk, each queue pair of a network device and
//! each vCPU has a thread of its own.
//! Every kind of thread has a seccomp filter of its own ([`mod@sandbox`]).
//!
//! # States
//! ```text
//! built -> running -> ended(Outcome)
//! ```
//! The first thread that learns how the machine ends says so; the event loop
//! flushes the console, reports on the status pipe and ends the process.

pub mod config;
pub mod outcome;
pub mod probe;

mod boot;
mod control;
mod cpu;
mod devices;
mod event_loop;
mod layout;
mod machine;
mod memory;
mod monitor;
mod opened;
pub mod sandbox;
mod stats;
mod sys;
mod virtio;

pub use config::VmConfig;
pub use monitor::{exit, run};
pub use outcome::{Outcome, Report};

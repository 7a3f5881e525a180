//! What `vm` and `emulated` have in common: the same kernel, initramfs, agent and
//! disks, a machine program in a sandbox of its own, and the line to the agent.

mod console;
mod disk;
mod emulated;
mod jail;
mod layers;
mod link;
mod nics;
mod plan;
mod probe;
mod sandbox;
mod shares;
mod stall;
mod vm;

pub use disk::mkfs;
pub use emulated::{Emulated, find_qemu};
pub use vm::Vm;

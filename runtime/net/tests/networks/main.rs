//! Networks against the kernel: each test is a host of its own, a network
//! namespace, with containers' namespaces and a neighbour on the wire. Skipped
//! aloud when not root.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod allocator;
mod firewall;
mod traffic;
mod world;

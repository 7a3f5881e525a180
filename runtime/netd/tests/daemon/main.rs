//! Drives the built program, each test in a network namespace of its own whose
//! loopback link holds all addresses. Needs root.

#![allow(clippy::unwrap_used)]

mod broken;
mod figures;
mod forwarding;
mod life;
mod names;
mod relays;
mod several;
mod support;
mod upstream;

//! What behaviour tests are written with: a data root of their own, the built
//! program, a small image, a host of their own (a network namespace), and a ledger
//! that finds what a test leaves behind.
//!
//! A behaviour is a function of an [`Env`]; it is run once on every wall in
//! `ISOLA_TEST_WALLS` (comma-separated; default `container,emulated`). The KVM lab
//! runs the same program with `vm`.

mod env;
mod host;
mod images;
mod kernel;
mod ledger;
mod probe;
mod run;
mod terminal;
pub mod wire;

pub use env::{Behaviour, Env, On, Wall, in_lab, remove_shared, walls};
pub use host::{HOST, HOST6, Host, NEIGHBOUR, NEIGHBOUR6};
pub use images::{LayerFile, busybox_layer, layer_with};
pub use kernel::{BlockDevice, ByWeight, cgroup_of, cgroup_value};
pub use ledger::Ledger;
pub use probe::run_if_called as run_probe_if_called;
pub use run::{Output, Running, until};
pub use terminal::{Terminal, hear_interrupts};

/// Lists a file's behaviours as its `ALL`, each with the walls that it applies to
/// ([`On`]).
#[macro_export]
macro_rules! behaviours {
    ($($on:ident $name:ident),* $(,)?) => {
        /// The behaviours of this file.
        pub const ALL: &[$crate::Behaviour] =
            &[$($crate::Behaviour { name: stringify!($name), on: $crate::On::$on, test: $name }),*];
    };
}

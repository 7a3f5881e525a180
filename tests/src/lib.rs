//! What behaviour tests are written with: a data root of their own, the built
//! program, a small image, and a ledger that finds what a test leaves behind.
//!
//! A behaviour is a function of an [`Env`]; it is run once on every wall in
//! `ISOLA_TEST_WALLS` (comma-separated; default `container,emulated`). The KVM lab
//! runs the same program with `vm`.

mod env;
mod images;
mod ledger;
mod run;

pub use env::{Behaviour, Env, On, Wall, remove_shared, walls};
pub use images::busybox_layer;
pub use ledger::Ledger;
pub use run::{Output, Running};

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

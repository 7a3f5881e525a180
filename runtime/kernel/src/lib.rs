//! Guest kernels: built from the distribution's source package with the
//! project's own configuration, fetched from its cloud kernel package, or the
//! user's own; and the initramfs that a guest starts from.
//!
//! One folder holds them all ([`Kernels`]). A kernel is a sub-folder that was
//! assembled under a temporary name and renamed into place, so that it is there
//! whole or not at all:
//!
//! ```text
//! lock                    held while the folder is changed
//! default                 the name that the user chose, if he did
//! tmp-*/                  work in progress; removed by the next change
//! NAME/record.json        what it is (see Kernel)
//! NAME/kernel             vmlinux or bzImage
//! NAME/modules/NNN-x.ko   modules in load order, uncompressed
//! NAME/initramfs/*.cpio   packed on demand, named by the hash of their inputs
//! ```

mod build;
pub mod cpio;
pub mod distribution;
mod error;
mod fetch;
mod image;
mod initramfs;
mod modules;
pub mod package;
mod progress;
mod store;
mod toolchain;
mod user;

pub use error::{Error, Result};
pub use initramfs::{BootFiles, pack};
pub use modules::{Module, Wanted};
pub use progress::{Progress, Step};
pub use store::{Format, Kernel, Kernels, Source};

//! Named volumes below `ROOT/volumes/`: data that outlives instances and is shared
//! by them, behind whatever wall they run.
//!
//! ```text
//! ROOT/volumes/.lock            held while a volume is made or removed
//! ROOT/volumes/.new-*, .gone-*  half-made and half-removed ones; swept by the next change
//! ROOT/volumes/NAME/record.json what it is ([`record`])
//!                   _data/      its files, or empty when they are in `disk.ext4`
//!                   disk.ext4   sparse ext4 image (`size=`, `block=`)
//!                   given       a guest could write to the disk: never mounted again
//!                   use.lock    flock: shared by users, exclusive for a block volume's one
//!                   users/ID    flock: held by the instance with this id
//!                   fill.lock   flock: held while content is put in ([`fill`])
//!                   loop.lock   flock: held while a loop device is looked for or made
//! ```
//!
//! All locks are flock(2) on descriptors that their holder keeps open: the kernel
//! drops them with it, however it ends. The image itself is locked, too: shared by
//! its loop device (which keeps the open file), exclusively by a machine that has it
//! as a disk. So no file system is ever written by two kernels, even while a dead
//! supervisor's mounts are still being taken down.
//!
//! `size=` is always a loop-backed ext4 image and never a project quota: a file's
//! project may be changed by its owner in the initial user namespace
//! (ioctl_xfs_fsgetxattr(2), FS_IOC_FSSETXATTR), so that root in a container without
//! a user namespace of its own would step out of the limit.

mod attributes;
mod copy;
mod disk;
mod error;
mod export;
mod extract;
mod file;
mod fill;
mod held;
mod image;
mod import;
mod loopdev;
mod merge;
mod prune;
mod record;
mod spec;
mod store;
mod subpath;
mod tar_pax;
mod tar_read;
mod tree;
mod usage;

pub use disk::{mount_disk, open_disk};
pub use error::{Error, Kind, Result};
pub use held::{Data, Held};
pub use import::check_archive;
pub use prune::{LabelFilter, Prune, Pruned};
pub use record::{Inspect, UsageData};
pub use spec::{VolumeSpec, valid_name};
pub use store::{Listing, Volume, Volumes};
pub use subpath::{Subpath, subpath};

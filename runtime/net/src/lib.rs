//! Networks of instances, the same for containers and guests: records under
//! `ROOT/networks/`, leases of addresses, bridges, veths and taps, one nftables
//! table, published ports.
//!
//! Everything happens in the current network namespace. [`Networks`] is the entry:
//! a lease is recorded before its bridge, link and rules are made, and what the
//! kernel holds is brought into line with the records ([`Networks::attach`],
//! [`Networks::release`], [`Networks::collect`]), so a killed process leaves
//! nothing that the next one does not find.

mod address;
mod attach;
mod bridge;
pub mod daemon;
mod error;
mod file;
mod firewall;
mod host;
mod lease;
pub mod link;
mod plan;
pub mod ports;
mod record;
mod store;
mod sysctl;
pub mod tap;

pub use attach::{Attached, Attachment, Notice, Untidy};
pub use error::{Error, Kind, Result};
pub use firewall::foreign_drops;
pub use lease::{InstanceRef, Lease};
pub use plan::NetworkSpec;
pub use ports::{Protocol, Published};
pub use record::{Network, Subnet};
pub use store::{DEFAULT, Networks};

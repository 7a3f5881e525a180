//! Network links, addresses and routes through one synchronous netlink socket,
//! and [`configure`], which sets a sandbox's links up: the same function for a
//! container's network namespace and in a guest.
//!
//! Messages are encoded by `netlink-bindings`; sending, acknowledgements and the
//! kernel's error texts are ours. No thread is started and nothing is cached, so
//! a process that forks later may use it.

mod address;
mod configure;
mod error;
mod link;
mod message;
mod namespace;
mod route;
mod socket;

pub use address::Address;
pub use configure::configure;
pub use error::{Error, Result};
pub use link::{Link, LinkChange, Veth};
pub use message::Message;
pub use namespace::{in_namespace, refuse_router_advertisements};
pub use route::Route;
pub use socket::Socket;

//! Published ports: what `-p` says, and the host's ports held for them.

mod parse;
mod reserve;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use crate::daemon::Protocol;
pub use parse::{PortSpec, exposed, parse};
pub use reserve::{Held, Reserved, reserve};

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A port of the host that leads to a port of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The protocol of both.
    pub protocol: Protocol,
    /// The host's address; `None` is every address of both families, an
    /// unspecified address every address of its family.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub host: u16,
    /// The instance's port.
    pub container: u16,
}

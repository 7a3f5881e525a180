//! Published ports: what `-p` says, and the host's ports held for them.

mod parse;
mod reserve;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use parse::{PortSpec, exposed, parse};
pub use reserve::{Held, Reserved, reserve};

/// A transport protocol whose ports can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

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

//! A sandbox's links to networks, in terms of Linux alone. The maker of a
//! container and the agent of a guest hand them to the same code.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An Ethernet address (EUI-48), written as `02:42:ac:11:00:02`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address of the form 02:42:ac:11:00:02")]
pub struct MacError;

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Mac, MacError> {
        let mut bytes = [0; 6];
        let mut words = text.split([':', '-']);
        for byte in &mut bytes {
            let word = words
                .next()
                .filter(|word| word.len() == 2)
                .ok_or(MacError)?;
            // from_str_radix takes a sign.
            if !word.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MacError);
            }
            *byte = u8::from_str_radix(word, 16).map_err(|_| MacError)?;
        }
        match words.next() {
            Some(_) => Err(MacError),
            None => Ok(Mac(bytes)),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;

    fn try_from(text: String) -> Result<Mac, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

/// A link that is there already (the inner end of a veth, a guest's NIC) and how
/// it is to be set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The hardware address by which it is found.
    pub hardware: Mac,
    /// The name that it gets, as `eth0`.
    pub name: String,
    /// The hardware address that it gets, if another than `hardware`.
    pub mac: Option<Mac>,
    /// Its addresses with the lengths of their networks' prefixes.
    pub addresses: Vec<IpNet>,
    /// Default routes, at most one per family.
    pub gateways: Vec<IpAddr>,
    /// Largest packet in bytes; `None` leaves it as it is.
    pub mtu: Option<u32>,
    /// Up, or down and without addresses: a spare NIC of a guest.
    pub up: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_strictly() {
        let mac = Mac([2, 0x42, 0xac, 0x11, 0, 2]);
        assert_eq!("02:42:AC:11:00:02".parse(), Ok(mac));
        assert_eq!("02-42-ac-11-00-02".parse(), Ok(mac));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        for text in [
            "",
            "02:42",
            "02:42:ac:11:00:0g",
            "02:42:ac:11:00:02:03",
            "+2:42:ac:11:00:02",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError), "{text:?}");
        }
    }
}

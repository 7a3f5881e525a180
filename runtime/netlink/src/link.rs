//! Network links (rtnetlink(7), RTM_NEWLINK and its like).

use std::os::fd::{AsRawFd, BorrowedFd};

use isola_proto::Mac;
use netlink_bindings::rt_link::{Ifinfomsg, LinkAttrs, PushLinkAttrs, PushLinkinfoAttrs};
use netlink_bindings::utils::{finalize_nested_header, push_nested_header};
use rustix::io::Errno;

use crate::error::{Error, Refusal, Result};
use crate::message::Message;
use crate::socket::Socket;

/// IFNAMSIZ of linux/if.h, without the closing zero.
const LONGEST_NAME: usize = 15;
/// RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h.
const SKIP_STATS: u32 = 1 << 3;
/// VETH_INFO_PEER of linux/veth.h.
const VETH_PEER: u16 = 1;

/// A network link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, of Ethernet links.
    pub mac: Option<Mac>,
    /// The hardware address that its device came with (Linux 5.6), if it tells.
    pub permanent: Option<Mac>,
    /// Number of the bridge that it is a port of.
    pub master: Option<u32>,
    /// The driver: `bridge`, `veth`, `tun`...; `None` for hardware.
    pub kind: Option<String>,
    /// IFF_UP.
    pub up: bool,
    /// IFF_RUNNING: the other side is up, too.
    pub running: bool,
    /// IFF_LOOPBACK.
    pub loopback: bool,
    /// Largest packet in bytes.
    pub mtu: u32,
}

/// What is to be changed about a link; `None` leaves it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkChange<'a> {
    /// IFF_UP.
    pub up: Option<bool>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Number of the bridge that it becomes a port of, 0 for none.
    pub master: Option<u32>,
    /// Hardware address.
    pub mac: Option<Mac>,
    /// Name; many kernels want the link down for it.
    pub name: Option<&'a str>,
    /// Network namespace that it moves to.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// A pair of links that are the two ends of one wire.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// Name of this end.
    pub name: &'a str,
    /// Bridge that this end becomes a port of.
    pub master: Option<u32>,
    /// Largest packet in bytes, of both ends.
    pub mtu: Option<u32>,
    /// Name of the other end.
    pub peer: &'a str,
    /// Hardware address of the other end.
    pub mac: Mac,
    /// Network namespace of the other end.
    pub namespace: BorrowedFd<'a>,
}

impl Socket {
    /// All links.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut message = Message::new(libc::RTM_GETLINK, 0, Ifinfomsg::new().as_slice());
        PushLinkAttrs::new(message.attributes()).push_ext_mask(SKIP_STATS);
        self.list("network links", &message, libc::RTM_NEWLINK, read)
    }

    /// The link of a name, if there is one.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let what = format!("look the link {name} up");
        let mut message = Message::new(libc::RTM_GETLINK, 0, Ifinfomsg::new().as_slice());
        PushLinkAttrs::new(message.attributes())
            .push_ext_mask(SKIP_STATS)
            .push_ifname_bytes(checked(name, &what)?);
        match self.one(message, libc::RTM_NEWLINK, read) {
            Err(Refusal {
                errno: Errno::NODEV,
                ..
            }) => Ok(None),
            other => other.map_err(|refusal| refusal.of(what)),
        }
    }

    /// Makes a bridge, down and without ports. Its own address is fixed at once: a
    /// bridge without one takes that of a port, and changes it when the port goes.
    ///
    /// # Errors
    /// The name is taken or the kernel refused.
    pub fn add_bridge(&mut self, name: &str, mac: Mac) -> Result<u32> {
        let what = format!("make the bridge {name}");
        let mut message = create(&Ifinfomsg::new());
        PushLinkAttrs::new(message.attributes())
            .push_ifname_bytes(checked(name, &what)?)
            .push_address(&mac.0)
            .nested_linkinfo()
            .nested_data_bridge()
            .end_nested()
            .end_nested();
        self.acknowledged(message)
            .map_err(|refusal| refusal.of(&what))?;
        self.index(name, &what)
    }

    /// Makes a veth(4) pair: this end here and up, the other straight in its
    /// namespace, down. Returns the index of this end.
    ///
    /// # Errors
    /// A name is taken or the kernel refused.
    pub fn add_veth(&mut self, veth: &Veth<'_>) -> Result<u32> {
        let what = format!("make the link {} to {}", veth.name, veth.peer);
        let mut header = Ifinfomsg::new();
        header.ifi_flags = libc::IFF_UP as u32;
        header.ifi_change = libc::IFF_UP as u32;
        let mut message = create(&header);
        let mut near =
            PushLinkAttrs::new(message.attributes()).push_ifname_bytes(checked(veth.name, &what)?);
        if let Some(mtu) = veth.mtu {
            near = near.push_mtu(mtu);
        }
        if let Some(master) = veth.master {
            near = near.push_master(master);
        }
        drop(near);
        // The bindings have no type for the peer: a nested attribute with a whole
        // link description in it (drivers/net/veth.c).
        let bytes = message.attributes();
        let info = push_nested_header(bytes, libc::IFLA_LINKINFO);
        PushLinkinfoAttrs::new(&mut *bytes).push_kind(c"veth");
        let data = push_nested_header(bytes, libc::IFLA_INFO_DATA);
        let peer = push_nested_header(bytes, VETH_PEER);
        bytes.extend(Ifinfomsg::new().as_slice());
        let mut far = PushLinkAttrs::new(&mut *bytes)
            .push_ifname_bytes(checked(veth.peer, &what)?)
            .push_address(&veth.mac.0)
            .push_net_ns_fd(veth.namespace.as_raw_fd() as u32);
        if let Some(mtu) = veth.mtu {
            far = far.push_mtu(mtu);
        }
        drop(far);
        for offset in [peer, data, info] {
            finalize_nested_header(bytes, offset);
        }
        self.acknowledged(message)
            .map_err(|refusal| refusal.of(&what))?;
        self.index(veth.name, &what)
    }

    /// Changes a link, all in one request.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_link(&mut self, index: u32, change: &LinkChange<'_>) -> Result<()> {
        let what = format!("change the link of number {index}");
        let mut header = Ifinfomsg::new();
        header.ifi_index = index as i32;
        if let Some(up) = change.up {
            header.ifi_change = libc::IFF_UP as u32;
            header.ifi_flags = if up { libc::IFF_UP as u32 } else { 0 };
        }
        let mut message = Message::new(libc::RTM_NEWLINK, 0, header.as_slice());
        let mut attributes = PushLinkAttrs::new(message.attributes());
        if let Some(mtu) = change.mtu {
            attributes = attributes.push_mtu(mtu);
        }
        if let Some(master) = change.master {
            attributes = attributes.push_master(master);
        }
        if let Some(mac) = change.mac {
            attributes = attributes.push_address(&mac.0);
        }
        if let Some(name) = change.name {
            attributes = attributes.push_ifname_bytes(checked(name, &what)?);
        }
        if let Some(namespace) = change.namespace {
            attributes = attributes.push_net_ns_fd(namespace.as_raw_fd() as u32);
        }
        drop(attributes);
        self.acknowledged(message)
            .map_err(|refusal| refusal.of(what))
    }

    /// Lets a bridge send what a port brings back through the same port, or not
    /// (bridge_slave `hairpin` of ip-link(8)).
    ///
    /// # Errors
    /// It is no port of a bridge, or the kernel refused.
    pub fn set_hairpin(&mut self, index: u32, on: bool) -> Result<()> {
        let mut header = Ifinfomsg::new();
        header.ifi_index = index as i32;
        let mut message = Message::new(libc::RTM_NEWLINK, 0, header.as_slice());
        PushLinkAttrs::new(message.attributes())
            .nested_linkinfo()
            .nested_slave_data_bridge()
            .push_mode(on.into())
            .end_nested()
            .end_nested();
        self.acknowledged(message)
            .map_err(|refusal| refusal.of(format!("let the port of number {index} answer itself")))
    }

    /// Deletes a link; one that is gone already is no error.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn delete_link(&mut self, index: u32) -> Result<()> {
        let mut header = Ifinfomsg::new();
        header.ifi_index = index as i32;
        let message = Message::new(libc::RTM_DELLINK, 0, header.as_slice());
        match self.acknowledged(message) {
            Err(refusal) if refusal.errno != Errno::NODEV => {
                Err(refusal.of(format!("delete the link of number {index}")))
            }
            _ => Ok(()),
        }
    }

    fn index(&mut self, name: &str, what: &str) -> Result<u32> {
        match self.link(name)? {
            Some(link) => Ok(link.index),
            None => Err(Error::new(what, "another program deleted it at once")),
        }
    }
}

fn create(header: &Ifinfomsg) -> Message {
    let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    Message::new(libc::RTM_NEWLINK, flags, header.as_slice())
}

/// The kernel's rules for names (`dev_valid_name`).
fn checked<'a>(name: &'a str, what: &str) -> Result<&'a [u8]> {
    let fits = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name != "."
        && name != ".."
        && !name
            .bytes()
            .any(|byte| byte == 0 || byte == b'/' || byte == b':' || byte.is_ascii_whitespace());
    if fits {
        Ok(name.as_bytes())
    } else {
        Err(Error::new(what, format!("{name:?} is no name of a link")))
    }
}

fn read(payload: &[u8]) -> Option<Link> {
    let header = Ifinfomsg::new_from_slice(payload.get(..Ifinfomsg::len())?)?;
    let attributes = LinkAttrs::new(&payload[Ifinfomsg::len()..]);
    let flag = |flag: i32| header.ifi_flags & flag as u32 != 0;
    let mac = |bytes: &[u8]| bytes.try_into().ok().map(Mac);
    Some(Link {
        index: u32::try_from(header.ifi_index).ok()?,
        name: attributes.get_ifname().ok()?.to_str().ok()?.to_owned(),
        mac: attributes.get_address().ok().and_then(mac),
        permanent: attributes.get_perm_address().ok().and_then(mac),
        master: attributes.get_master().ok(),
        kind: attributes
            .get_linkinfo()
            .ok()
            .and_then(|info| info.get_kind().ok())
            .map(|kind| kind.to_string_lossy().into_owned()),
        up: flag(libc::IFF_UP),
        running: flag(libc::IFF_RUNNING),
        loopback: flag(libc::IFF_LOOPBACK),
        mtu: attributes.get_mtu().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_kernels_rules() {
        for name in ["eth0", "isola-0123456789", "a"] {
            let fits = name.len() <= LONGEST_NAME;
            assert_eq!(checked(name, "").is_ok(), fits, "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:b",
            "a\0b",
            "0123456789abcdef",
        ] {
            assert!(checked(name, "").is_err(), "{name:?}");
        }
    }
}

//! Addresses of links (rtnetlink(7), RTM_NEWADDR and its like).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_bindings::rt_addr::{AddrAttrs, Ifaddrmsg, PushAddrAttrs};
use rustix::io::Errno;

use crate::error::Result;
use crate::message::Message;
use crate::socket::Socket;

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub index: u32,
    /// The address with the length of its network's prefix.
    pub net: IpNet,
    /// False for addresses that mean something on the link or the host only.
    pub global: bool,
}

impl Socket {
    /// Addresses of one link, or of all.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn addresses(&mut self, index: Option<u32>) -> Result<Vec<Address>> {
        let mut all = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut header = Ifaddrmsg::new();
            header.ifa_family = family as u8;
            header.ifa_index = index.unwrap_or(0);
            let message = Message::new(libc::RTM_GETADDR, 0, header.as_slice());
            all.extend(
                self.list("addresses", &message, libc::RTM_NEWADDR, |payload| {
                    // A kernel without IPv6 answers with everything it has.
                    read(payload).filter(|address| {
                        address.net.addr().is_ipv4() == (family == libc::AF_INET)
                            && index.is_none_or(|index| index == address.index)
                    })
                })?,
            );
        }
        Ok(all)
    }

    /// Adds an address to a link; one that is there is left. IPv6 addresses are
    /// not probed for duplicates (the allocator gives none), so that they can be
    /// used at once.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn add_address(&mut self, index: u32, net: IpNet) -> Result<()> {
        let flags = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        let mut header = header(index, net);
        if net.addr().is_ipv6() {
            header.ifa_flags = libc::IFA_F_NODAD as u8;
        }
        let mut message = Message::new(libc::RTM_NEWADDR, flags, header.as_slice());
        let mut attributes = PushAddrAttrs::new(message.attributes())
            .push_local(net.addr())
            .push_address(net.addr());
        if let IpNet::V4(net) = net
            && net.prefix_len() < 31
        {
            attributes = attributes.push_broadcast(net.broadcast());
        }
        drop(attributes);
        self.acknowledged(message)
            .map_err(|refusal| refusal.of(format!("add the address {net} to link {index}")))
    }

    /// Removes an address from a link; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn remove_address(&mut self, index: u32, net: IpNet) -> Result<()> {
        let header = header(index, net);
        let mut message = Message::new(libc::RTM_DELADDR, 0, header.as_slice());
        PushAddrAttrs::new(message.attributes())
            .push_local(net.addr())
            .push_address(net.addr());
        match self.acknowledged(message) {
            Err(refusal) if refusal.errno != Errno::ADDRNOTAVAIL => {
                Err(refusal.of(format!("remove the address {net} of link {index}")))
            }
            _ => Ok(()),
        }
    }
}

fn header(index: u32, net: IpNet) -> Ifaddrmsg {
    let mut header = Ifaddrmsg::new();
    header.ifa_family = match net {
        IpNet::V4(_) => libc::AF_INET as u8,
        IpNet::V6(_) => libc::AF_INET6 as u8,
    };
    header.ifa_prefixlen = net.prefix_len();
    header.ifa_index = index;
    if net.addr().is_loopback() {
        header.ifa_scope = libc::RT_SCOPE_HOST;
    }
    header
}

fn read(payload: &[u8]) -> Option<Address> {
    let header = Ifaddrmsg::new_from_slice(payload.get(..Ifaddrmsg::len())?)?;
    let attributes = AddrAttrs::new(&payload[Ifaddrmsg::len()..]);
    // On a point-to-point link the other attribute is the other side's.
    let address = attributes
        .get_local()
        .or_else(|_| attributes.get_address())
        .ok()?;
    if address == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        return None;
    }
    Some(Address {
        index: header.ifa_index,
        net: IpNet::new(address, header.ifa_prefixlen).ok()?,
        global: header.ifa_scope < libc::RT_SCOPE_LINK,
    })
}

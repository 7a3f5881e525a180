//! Routes (rtnetlink(7), RTM_NEWROUTE and its like).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_bindings::rt_route::{PushRouteAttrs, RouteAttrs, Rtmsg};
use rustix::io::Errno;

use crate::error::Result;
use crate::message::Message;
use crate::socket::Socket;

/// A route to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; a prefix of length 0 for a default route.
    pub destination: IpNet,
    /// The next router, if the network isn't on the link itself.
    pub gateway: Option<IpAddr>,
    /// The link's number; `None` for unreachable and multipath routes.
    pub index: Option<u32>,
    /// The routing table: 254 is the main one.
    pub table: u32,
}

impl Route {
    /// The default route by a gateway on a link, in the main table.
    pub fn default_by(gateway: IpAddr, index: u32) -> Route {
        let destination = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        Route {
            destination,
            gateway: Some(gateway),
            index: Some(index),
            table: u32::from(libc::RT_TABLE_MAIN),
        }
    }

    /// Is it a default route?
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }
}

impl Socket {
    /// All routes of all tables but those to the host's own addresses, multicast
    /// and broadcast addresses (table `local`) and cached ones.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut all = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut header = Rtmsg::new();
            header.rtm_family = family as u8;
            let message = Message::new(libc::RTM_GETROUTE, 0, header.as_slice());
            all.extend(
                self.list("routes", &message, libc::RTM_NEWROUTE, |payload| {
                    read(payload, family as u8)
                })?,
            );
        }
        Ok(all)
    }

    /// Adds a route in place of any other to the same destination.
    ///
    /// # Errors
    /// The kernel refused, as for a gateway that is on none of the link's networks.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.change(libc::RTM_NEWROUTE, flags as u16, route)
            .map_err(|refusal| refusal.of(format!("add {}", describe(route))))
    }

    /// Removes a route; one that is not there is no error.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn remove_route(&mut self, route: &Route) -> Result<()> {
        match self.change(libc::RTM_DELROUTE, 0, route) {
            Err(refusal) if refusal.errno != Errno::SRCH => {
                Err(refusal.of(format!("remove {}", describe(route))))
            }
            _ => Ok(()),
        }
    }

    fn change(
        &mut self,
        kind: u16,
        flags: u16,
        route: &Route,
    ) -> std::result::Result<(), crate::error::Refusal> {
        let mut header = Rtmsg::new();
        header.rtm_family = family(route.destination);
        header.rtm_dst_len = route.destination.prefix_len();
        header.rtm_table = u8::try_from(route.table).unwrap_or(libc::RT_TABLE_UNSPEC);
        header.rtm_scope = libc::RT_SCOPE_NOWHERE;
        if kind == libc::RTM_NEWROUTE {
            header.rtm_protocol = libc::RTPROT_STATIC;
            header.rtm_type = libc::RTN_UNICAST;
            header.rtm_scope = match route.gateway {
                Some(_) => libc::RT_SCOPE_UNIVERSE,
                None => libc::RT_SCOPE_LINK,
            };
        }
        let mut message = Message::new(kind, flags, header.as_slice());
        let mut attributes = PushRouteAttrs::new(message.attributes()).push_table(route.table);
        if route.destination.prefix_len() > 0 {
            attributes = attributes.push_dst(route.destination.network());
        }
        if let Some(gateway) = route.gateway {
            attributes = attributes.push_gateway(gateway);
        }
        if let Some(index) = route.index {
            attributes = attributes.push_oif(index);
        }
        drop(attributes);
        self.acknowledged(message)
    }
}

fn describe(route: &Route) -> String {
    let mut text = format!("the route to {}", route.destination);
    if let Some(gateway) = route.gateway {
        text = format!("{text} by {gateway}");
    }
    if let Some(index) = route.index {
        text = format!("{text} on link {index}");
    }
    text
}

fn family(net: IpNet) -> u8 {
    match net {
        IpNet::V4(_) => libc::AF_INET as u8,
        IpNet::V6(_) => libc::AF_INET6 as u8,
    }
}

fn read(payload: &[u8], wanted: u8) -> Option<Route> {
    let header = Rtmsg::new_from_slice(payload.get(..Rtmsg::len())?)?;
    let attributes = RouteAttrs::new(&payload[Rtmsg::len()..]);
    let table = attributes
        .get_table()
        .unwrap_or(u32::from(header.rtm_table));
    let plain = header.rtm_family == wanted
        && table != u32::from(libc::RT_TABLE_LOCAL)
        && header.rtm_flags & libc::RTM_F_CLONED == 0
        && !matches!(
            header.rtm_type,
            libc::RTN_LOCAL | libc::RTN_BROADCAST | libc::RTN_ANYCAST | libc::RTN_MULTICAST
        );
    if !plain {
        return None;
    }
    let destination = attributes.get_dst().unwrap_or(match wanted {
        family if family == libc::AF_INET as u8 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    });
    Some(Route {
        destination: IpNet::new(destination, header.rtm_dst_len).ok()?,
        gateway: attributes.get_gateway().ok(),
        index: attributes.get_oif().ok(),
        table,
    })
}

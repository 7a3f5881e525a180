//! Bringing links into the state that a list of [`Interface`]s describes.

use std::net::IpAddr;

use isola_proto::{Interface, Mac};

use crate::error::{Error, Result};
use crate::link::{Link, LinkChange};
use crate::route::Route;
use crate::socket::Socket;

/// Sets links up exactly as said: name, hardware address, MTU, addresses, default
/// routes, up or down. Loopback is brought up. Global addresses and default routes
/// of these links that are not wanted are removed; links that are not named stay as
/// they are, as do link-local IPv6 addresses. Doing it again changes nothing.
///
/// A link is found by the hardware address that it came with, or has now, or (when
/// this was done before) by the one that it is to get.
///
/// # Errors
/// A link is not there, a name belongs to a link that is not in the list, or the
/// kernel refused a step; what was done until then stays, and can be done again.
pub fn configure(socket: &mut Socket, interfaces: &[Interface]) -> Result<()> {
    let links = socket.links()?;
    for link in links.iter().filter(|link| link.loopback && !link.up) {
        let up = Some(true);
        socket.set_link(
            link.index,
            &LinkChange {
                up,
                ..LinkChange::default()
            },
        )?;
    }
    let mut pairs = Vec::new();
    for interface in interfaces {
        let link = find(&links, interface).ok_or_else(|| {
            Error::new(
                format!("set {} up", interface.name),
                format!("no link has the hardware address {}", interface.hardware),
            )
        })?;
        pairs.push((interface, link));
    }
    free_names(socket, &links, &pairs)?;
    for (interface, link) in &pairs {
        set(socket, interface, link)?;
        addresses(socket, interface, link.index)?;
    }
    routes(socket, &pairs)
}

type Pair<'a> = (&'a Interface, &'a Link);

fn find<'a>(links: &'a [Link], interface: &Interface) -> Option<&'a Link> {
    let has = |test: &dyn Fn(&Link) -> bool| links.iter().find(|link| test(link));
    let hardware = Some(interface.hardware);
    has(&|link| link.permanent == hardware)
        .or_else(|| has(&|link| link.mac == hardware))
        .or_else(|| has(&|link| interface.mac.is_some() && link.mac == interface.mac))
}

/// Gives links of the list that hold another one's name a name for the meantime.
fn free_names(socket: &mut Socket, links: &[Link], pairs: &[Pair<'_>]) -> Result<()> {
    for (interface, link) in pairs {
        let holder = links
            .iter()
            .find(|other| other.name == interface.name && other.index != link.index);
        let Some(holder) = holder else { continue };
        if !pairs.iter().any(|(_, link)| link.index == holder.index) {
            return Err(Error::new(
                format!("name the link {} {}", link.name, interface.name),
                "another link has this name",
            ));
        }
        let name = format!("isola-{}", holder.index);
        let change = LinkChange {
            up: Some(false),
            name: Some(&name),
            ..LinkChange::default()
        };
        rename(socket, holder.index, change)?;
    }
    Ok(())
}

/// The kernel looks at the name before the flags: down first.
fn rename(socket: &mut Socket, index: u32, change: LinkChange<'_>) -> Result<()> {
    let down = LinkChange {
        up: Some(false),
        ..LinkChange::default()
    };
    socket.set_link(index, &down)?;
    socket.set_link(index, &LinkChange { up: None, ..change })
}

fn set(socket: &mut Socket, interface: &Interface, found: &Link) -> Result<()> {
    let wanted: Mac = interface.mac.unwrap_or(interface.hardware);
    let mac = (found.mac != Some(wanted)).then_some(wanted);
    // Names may have changed in free_names.
    let name = socket
        .link(&interface.name)?
        .is_none_or(|link| link.index != found.index)
        .then_some(interface.name.as_str());
    if mac.is_some() || name.is_some() {
        let change = LinkChange {
            mac,
            name,
            ..LinkChange::default()
        };
        rename(socket, found.index, change)?;
    }
    let change = LinkChange {
        up: Some(interface.up),
        mtu: interface.mtu,
        ..LinkChange::default()
    };
    socket.set_link(found.index, &change)
}

fn addresses(socket: &mut Socket, interface: &Interface, index: u32) -> Result<()> {
    let wanted: &[_] = if interface.up {
        &interface.addresses
    } else {
        &[]
    };
    for address in socket.addresses(Some(index))? {
        let removable = address.global || address.net.addr().is_ipv4();
        if removable && !wanted.contains(&address.net) {
            socket.remove_address(index, address.net)?;
        }
    }
    // Listed again: with the first IPv4 address of a network the kernel drops
    // the others of it.
    let present = socket.addresses(Some(index))?;
    for net in wanted {
        if !present.iter().any(|address| address.net == *net) {
            socket.add_address(index, *net)?;
        }
    }
    Ok(())
}

fn routes(socket: &mut Socket, pairs: &[Pair<'_>]) -> Result<()> {
    let present = socket.routes()?;
    let main = u32::from(libc::RT_TABLE_MAIN);
    for (interface, link) in pairs {
        let own = present.iter().filter(|route| {
            route.index == Some(link.index) && route.table == main && route.is_default()
        });
        for route in own {
            let keep = interface.up && route.gateway.is_some_and(|by| has(interface, by));
            if !keep {
                socket.remove_route(route)?;
            }
        }
    }
    for (interface, link) in pairs.iter().filter(|(interface, _)| interface.up) {
        for gateway in &interface.gateways {
            let route = Route::default_by(*gateway, link.index);
            if !present.contains(&route) {
                socket.add_route(&route)?;
            }
        }
    }
    Ok(())
}

fn has(interface: &Interface, gateway: IpAddr) -> bool {
    interface.gateways.contains(&gateway)
}

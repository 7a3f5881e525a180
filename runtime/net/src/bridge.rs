//! A network's bridge: made with the first instance and removed with the last, so
//! that a host on which nothing runs is as it was, and a data root that is deleted
//! leaves nothing behind. Its subnets stay reserved meanwhile ([`crate::host`]).

use isola_netlink::{LinkChange, Socket};

use crate::attach::Notice;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::record::Network;
use crate::sysctl;

/// Brings the bridge into its state, whatever it was. Returns its index and what
/// was changed about the host.
pub(crate) fn up(
    socket: &mut Socket,
    host: &Host,
    network: &Network,
) -> Result<(u32, Vec<Notice>)> {
    let present = socket.link(&network.bridge)?;
    let index = match &present {
        Some(link) if link.kind.as_deref() == Some("bridge") => {
            host.check(network, Some(link.index))?;
            link.index
        }
        Some(_) => {
            return Err(Error::conflict(format!(
                "a link {} is there and is no bridge",
                network.bridge
            )));
        }
        None => {
            host.check(network, None)?;
            socket.add_bridge(&network.bridge, network.mac())?
        }
    };
    let built = build(socket, network, index);
    if built.is_err() && present.is_none() {
        drop(socket.delete_link(index));
    }
    Ok((index, built?))
}

fn build(socket: &mut Socket, network: &Network, index: u32) -> Result<Vec<Notice>> {
    sysctl::bridge(&network.bridge, network.v6().is_some(), network.internal)?;
    let change = LinkChange {
        up: Some(true),
        mtu: network.mtu,
        ..LinkChange::default()
    };
    socket.set_link(index, &change)?;
    for part in &network.subnets {
        socket.add_address(index, part.gateway_net())?;
    }
    if network.internal {
        return Ok(Vec::new());
    }
    sysctl::forward(network.v6().is_some())
}

/// Where the firewall sees bridged packets, too (br_netfilter, which other container
/// tools load), the bridge itself translates a packet that a member sends to one of its
/// own published ports, and has to send it back where it came from.
pub(crate) fn port(socket: &mut Socket, index: u32) -> Result<()> {
    match sysctl::filters_bridged() {
        true => Ok(socket.set_hairpin(index, true)?),
        false => Ok(()),
    }
}

/// Removes the bridge, if it is there.
pub(crate) fn down(socket: &mut Socket, network: &Network) -> Result<()> {
    match socket.link(&network.bridge)? {
        Some(link) if link.kind.as_deref() == Some("bridge") => Ok(socket.delete_link(link.index)?),
        _ => Ok(()),
    }
}

//! Containers' links: veth pairs between a bridge and a network namespace.

use std::os::fd::BorrowedFd;

use isola_netlink::{Socket, Veth, in_namespace, refuse_router_advertisements};
use isola_proto::Interface;
use sha2::{Digest, Sha256};

use crate::attach::Attached;
use crate::bridge;
use crate::error::Result;
use crate::record::Network;

/// Makes the link of a container: this end a port of the bridge, the other in the
/// network namespace, with the lease's hardware address, down and under the same
/// name. A link that an earlier run left is replaced. Returns how the inner end is
/// to be set up, for [`isola_netlink::configure`] in the namespace.
///
/// # Errors
/// The kernel refused.
pub fn veth(
    attached: &Attached,
    namespace: BorrowedFd<'_>,
    interface: &str,
    default_routes: bool,
) -> Result<Interface> {
    let (network, lease) = (&attached.network, &attached.lease);
    let mut socket = Socket::route()?;
    remove(&mut socket, &lease.instance, network)?;
    // Before the link is there: else a neighbour could be quicker.
    in_namespace(namespace, refuse_router_advertisements)??;
    let name = veth_name(&lease.instance, &network.id);
    let port = socket.add_veth(&Veth {
        name: &name,
        master: Some(attached.bridge),
        mtu: network.mtu,
        peer: &name,
        mac: lease.mac,
        namespace,
    })?;
    bridge::port(&mut socket, port)?;
    Ok(lease.interface(network, interface, None, default_routes))
}

/// Removes the link of a container to a network, if it is there.
pub(crate) fn remove(socket: &mut Socket, instance: &str, network: &Network) -> Result<()> {
    if let Some(link) = socket.link(&veth_name(instance, &network.id))? {
        socket.delete_link(link.index)?;
    }
    Ok(())
}

/// The name of the host's end of a container's link to a network.
pub fn veth_name(instance: &str, network: &str) -> String {
    let digest = Sha256::digest(format!("{instance} {network}").as_bytes());
    format!("isv{}", hex::encode(&digest[..6]))
}

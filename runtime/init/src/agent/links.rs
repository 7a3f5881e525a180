//! The guest's links to networks.

use isola_netlink::{Error, Socket, configure, refuse_router_advertisements};
use isola_proto::{Failure, Interface};

use super::setup;

/// Sets up the links that a guest is booted with. Beside the addresses that are
/// given only link-local ones stay: on no link, those that come later included,
/// a neighbour's advertisement is listened to unless the workload asks for it.
pub(super) fn boot(interfaces: &[Interface]) -> Result<(), Failure> {
    refuse_router_advertisements().map_err(failure)?;
    match interfaces.is_empty() {
        true => Ok(()),
        false => set_up(interfaces),
    }
}

/// Sets links up: names, addresses, routes.
pub(super) fn set_up(interfaces: &[Interface]) -> Result<(), Failure> {
    Socket::route()
        .and_then(|mut socket| configure(&mut socket, interfaces))
        .map_err(failure)
}

fn failure(error: Error) -> Failure {
    setup(error.to_string())
}

//! Packets with the address that they were sent to. A socket that is bound to all of the
//! host's addresses answers from the one that was asked (IP_PKTINFO of ip(7),
//! IPV6_PKTINFO of ipv6(7)); the kernel would choose one by its routes.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use rustix::net::AddressFamily;

/// A packet's way, on which the answer goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    /// Who sent it.
    source: SocketAddr,
    /// The address of the host that it was sent to, and the link where the address
    /// alone does not say it (0 where it does).
    asked: Option<(IpAddr, u32)>,
}

/// Has a socket tell where packets were sent to.
///
/// # Errors
/// It is no socket of either family.
pub(super) fn prepare(socket: &impl AsFd) -> io::Result<()> {
    let family = rustix::net::sockopt::socket_domain(socket)?;
    let set = match family {
        AddressFamily::INET => setsockopt(socket, sockopt::Ipv4PacketInfo, &true),
        _ => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true),
    };
    Ok(set?)
}

/// Takes a packet: its size and its way.
///
/// # Errors
/// There is none, or an earlier answer was refused.
pub(super) fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Way)> {
    let mut space = nix::cmsg_space!(libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let got = recvmsg::<SockaddrStorage>(
        socket.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::empty(),
    )?;
    let source = got.address.as_ref().and_then(address);
    let source = source.ok_or(io::ErrorKind::InvalidData)?;
    let asked = got.cmsgs()?.find_map(asked);
    Ok((got.bytes, Way { source, asked }))
}

/// Sends an answer back.
///
/// # Errors
/// The kernel refused, or there is no room now.
pub(super) fn answer(socket: &impl AsFd, bytes: &[u8], way: Way) -> io::Result<()> {
    let to = SockaddrStorage::from(way.source);
    let send = |from: &[ControlMessage<'_>]| {
        let fd = socket.as_fd().as_raw_fd();
        let parts = [IoSlice::new(bytes)];
        sendmsg(fd, &parts, from, MsgFlags::MSG_NOSIGNAL, Some(&to))
    };
    let sent = match way.asked {
        None => send(&[]),
        Some((IpAddr::V4(from), _)) => {
            let octets = |ip: Ipv4Addr| libc::in_addr {
                s_addr: u32::from_ne_bytes(ip.octets()),
            };
            send(&[ControlMessage::Ipv4PacketInfo(&libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: octets(from),
                ipi_addr: octets(Ipv4Addr::UNSPECIFIED),
            })])
        }
        Some((IpAddr::V6(from), link)) => {
            send(&[ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: from.octets(),
                },
                ipi6_ifindex: link,
            })])
        }
    };
    Ok(sent.map(drop)?)
}

fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = from.as_sockaddr_in().map(|it| SocketAddr::V4((*it).into()));
    v4.or_else(|| {
        let v6 = from.as_sockaddr_in6();
        v6.map(|it| SocketAddr::V6((*it).into()))
    })
}

fn asked(told: ControlMessageOwned) -> Option<(IpAddr, u32)> {
    match told {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let at = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
            Some((at.into(), 0))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let at = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let link = match at.is_unicast_link_local() {
                true => info.ipi6_ifindex,
                false => 0,
            };
            Some((at.into(), link))
        }
        _ => None,
    }
}

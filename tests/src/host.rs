//! The host that one test has to itself: a network namespace in which every command
//! of the test runs, and, where a test asks for it, a neighbour on a wire.
//!
//! So tests run side by side, and the machine's own bridges, rules and routes stay as
//! they were found.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use isola_netlink::{Message, Socket, Veth, configure, in_namespace};
use isola_proto::{Interface, Mac};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// The host's own addresses on the wire.
pub const HOST: &str = "192.0.2.1";
/// The same of IPv6.
pub const HOST6: &str = "2001:db8::1";
/// The neighbour's.
pub const NEIGHBOUR: &str = "192.0.2.2";
/// The same of IPv6.
pub const NEIGHBOUR6: &str = "2001:db8::2";

/// Attributes of nf_tables' messages (linux/netfilter/nf_tables.h).
const TABLE_NAME: u16 = 1;

/// A host of a test's own.
#[derive(Debug)]
pub struct Host {
    namespace: OwnedFd,
    neighbour: OnceLock<OwnedFd>,
    resolvers: Mutex<Option<CString>>,
    before: Mutex<BTreeSet<String>>,
}

impl Host {
    /// A host with loopback only.
    ///
    /// # Panics
    /// Namespaces can't be made: not root.
    pub fn new() -> Host {
        let host = Host {
            namespace: namespace(),
            neighbour: OnceLock::new(),
            resolvers: Mutex::default(),
            before: Mutex::default(),
        };
        // The kernel gives a namespace's number again: these are of one that is gone,
        // whose test was killed.
        let _ = std::fs::remove_dir_all(host.reservations());
        *host.before.lock().expect("a lock") = host.picture();
        host
    }

    /// Lets a command run on this host.
    ///
    /// # Panics
    /// No descriptor is free.
    pub fn enter(&self, command: &mut Command) {
        let namespace = self.namespace.try_clone().expect("a descriptor");
        let resolvers = self.resolvers.lock().expect("a lock").clone();
        let enter = move || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network)?;
            if let Some(file) = &resolvers {
                let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                // SAFETY: the child has one thread, and shares nothing else by this.
                unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
                mount_change(c"/", flags)?;
                mount_bind(file.as_c_str(), c"/etc/resolv.conf")?;
            }
            Ok(())
        };
        // SAFETY: system calls only, on descriptors and strings made before the fork.
        unsafe { command.pre_exec(enter) };
    }

    /// Puts a file in the place of the host's resolv.conf for commands from now on.
    ///
    /// # Panics
    /// The machine has no such file.
    pub fn set_resolvers(&self, file: &Path) {
        assert!(
            Path::new("/etc/resolv.conf").exists(),
            "this machine has no /etc/resolv.conf to mount over"
        );
        let path = CString::new(file.as_os_str().as_bytes()).expect("a path");
        *self.resolvers.lock().expect("a lock") = Some(path);
    }

    /// Does something on the host.
    ///
    /// # Panics
    /// The namespace can't be entered.
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        in_namespace(self.namespace.as_fd(), work).expect("the host")
    }

    /// Does something on the neighbour; the first time the wire is laid.
    ///
    /// # Panics
    /// The wire can't be laid.
    pub fn outside<T>(&self, work: impl FnOnce() -> T) -> T {
        in_namespace(self.neighbour().as_fd(), work).expect("the neighbour")
    }

    fn neighbour(&self) -> &OwnedFd {
        self.neighbour.get_or_init(|| {
            let neighbour = namespace();
            self.lay_wire(&neighbour);
            // What instances have on the host by now is not to stay.
            let wire = self.picture().into_iter();
            let wire = wire.filter(|line| line.contains("wire"));
            self.before.lock().expect("a lock").extend(wire);
            neighbour
        })
    }

    /// Lays the wire to the neighbour, if it is not there.
    pub fn with_neighbour(&self) {
        self.neighbour();
    }

    fn lay_wire(&self, neighbour: &OwnedFd) {
        let mac = Mac([2, 0, 0, 0, 0, 2]);
        let net =
            |address: &str, length: u8| format!("{address}/{length}").parse().expect("an address");
        self.inside(|| {
            let mut socket = Socket::route().expect("netlink");
            let wire = socket
                .add_veth(&Veth {
                    name: "wire",
                    master: None,
                    mtu: None,
                    peer: "wire",
                    mac,
                    namespace: neighbour.as_fd(),
                })
                .expect("a wire");
            for (address, length) in [(HOST, 24), (HOST6, 64)] {
                socket
                    .add_address(wire, net(address, length))
                    .expect("an address");
            }
        });
        let interface = Interface {
            hardware: mac,
            name: "wire".to_owned(),
            mac: None,
            addresses: vec![net(NEIGHBOUR, 24), net(NEIGHBOUR6, 64)],
            gateways: Vec::new(),
            mtu: None,
            up: true,
        };
        let mut far = Socket::route_in(neighbour.as_fd()).expect("netlink");
        configure(&mut far, &[interface]).expect("the neighbour's end");
    }

    /// What is on the host that was not there at the beginning: links, addresses,
    /// routes, nftables' tables, processes.
    pub fn left(&self) -> Vec<String> {
        let before = self.before.lock().expect("a lock").clone();
        let now = self.picture();
        let gone = before.difference(&now).map(|line| format!("gone: {line}"));
        let left = now.difference(&before).cloned();
        left.chain(gone).chain(self.processes()).collect()
    }

    /// Takes what is there now as what was there before.
    pub fn keep(&self) {
        *self.before.lock().expect("a lock") = self.picture();
    }

    /// Processes that run on the host, with their command lines.
    pub fn processes(&self) -> Vec<String> {
        let number = self.number();
        let own = std::process::id().to_string();
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let names = all.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
            .filter(|pid| {
                let namespace = std::fs::metadata(format!("/proc/{pid}/ns/net"));
                namespace.is_ok_and(|namespace| namespace.ino() == number)
            })
            .map(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                format!("process {pid} {line}")
            })
            .collect()
    }

    /// Where the tool keeps what is reserved on this host.
    pub fn reservations(&self) -> PathBuf {
        Path::new("/run/isola/net").join(self.number().to_string())
    }

    /// nftables' tables of the host.
    pub fn tables(&self) -> Vec<String> {
        self.inside(|| {
            let Ok(mut socket) = Socket::netfilter() else {
                return Vec::new();
            };
            let message = table_message(libc::NFT_MSG_GETTABLE, 0);
            let kind = kind(libc::NFT_MSG_NEWTABLE);
            let found = socket.list("tables", &message, kind, |payload| {
                table_name(payload.get(4..)?)
            });
            found.unwrap_or_default()
        })
    }

    /// Makes a table of somebody else.
    ///
    /// # Panics
    /// The kernel refused.
    pub fn add_table(&self, name: &str) {
        let mut table = table_message(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE);
        let length = u16::try_from(name.len() + 5).expect("a short name");
        let attribute = table.attributes();
        attribute.extend(length.to_ne_bytes());
        attribute.extend(TABLE_NAME.to_ne_bytes());
        attribute.extend(name.as_bytes());
        attribute.push(0);
        let end = attribute.len().next_multiple_of(4);
        attribute.resize(end, 0);
        // The resource of a batch's ends is the subsystem, in network order.
        let resource = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
        let edge = |kind: i32| {
            let fixed = [0, 0, resource[0], resource[1]];
            Message::new(kind as u16, 0, &fixed)
        };
        let messages = vec![
            edge(libc::NFNL_MSG_BATCH_BEGIN),
            table,
            edge(libc::NFNL_MSG_BATCH_END),
        ];
        self.inside(|| {
            let mut socket = Socket::netfilter().expect("netlink");
            socket
                .transaction("add a table", messages)
                .expect("a table");
        });
    }

    fn number(&self) -> u64 {
        rustix::fs::fstat(&self.namespace)
            .expect("the namespace")
            .st_ino
    }

    fn picture(&self) -> BTreeSet<String> {
        let tables = self.tables();
        let mut lines: BTreeSet<String> =
            tables.iter().map(|name| format!("table {name}")).collect();
        self.inside(|| {
            let mut socket = Socket::route().expect("netlink");
            let links = socket.links().expect("links");
            let of = |index: u32| {
                let link = links.iter().find(|link| link.index == index);
                link.map_or_else(|| format!("link {index}"), |link| link.name.clone())
            };
            lines.extend(links.iter().map(|link| format!("link {}", link.name)));
            for address in socket.addresses(None).expect("addresses") {
                if !passing(address.net.addr()) {
                    let line = format!("address {} on {}", address.net, of(address.index));
                    lines.insert(line);
                }
            }
            for route in socket.routes().expect("routes") {
                if !passing(route.destination.addr()) {
                    let link = route.index.map(of);
                    lines.insert(format!("route {} on {link:?}", route.destination));
                }
            }
        });
        lines
    }
}

impl Default for Host {
    fn default() -> Host {
        Host::new()
    }
}

impl Drop for Host {
    /// Of a test that failed. The folder is of this namespace alone.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.reservations());
    }
}

/// The kernel gives these to links by itself, a while after they came up.
fn passing(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    }
}

/// A new network namespace with its loopback up.
fn namespace() -> OwnedFd {
    let made = std::thread::spawn(|| {
        // SAFETY: only the network namespace of this thread changes.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network namespace: not root?");
        let mut socket = Socket::route().expect("netlink");
        configure(&mut socket, &[]).expect("loopback");
        // As on hosts that have run instances before: the first one says that it turns
        // this on, which most tests have no interest in.
        for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let _ = std::fs::write(format!("/proc/sys/net/{switch}"), "1");
        }
        File::open("/proc/thread-self/ns/net").expect("the namespace")
    });
    made.join().expect("a network namespace").into()
}

fn kind(message: i32) -> u16 {
    ((libc::NFNL_SUBSYS_NFTABLES << 8) | message) as u16
}

fn table_message(message: i32, flags: i32) -> Message {
    // Any family to read, `inet` to write.
    let family = match message {
        libc::NFT_MSG_GETTABLE => libc::NFPROTO_UNSPEC,
        _ => libc::NFPROTO_INET,
    };
    Message::new(kind(message), flags as u16, &[family as u8, 0, 0, 0])
}

fn table_name(mut attributes: &[u8]) -> Option<String> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        if kind == TABLE_NAME {
            let name = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(name).into_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

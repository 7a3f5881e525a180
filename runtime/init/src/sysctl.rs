//! Kernel parameters of the new namespaces, written through a procfs that is
//! mounted nowhere: nothing can lie over it (CVE-2025-52881).

use std::io::Write as _;
use std::os::fd::OwnedFd;

use isola_proto::Failure;
use isola_proto::spec::Namespaces;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::MountAttrFlags;

use crate::error::{Setup, failure};
use crate::mountfd::new_fs;

/// Namespaces whose parameters may be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned {
    /// Network.
    pub(crate) net: bool,
    /// The network namespace is another sandbox's, which alone sets it up.
    pub(crate) joined_net: bool,
    /// System V and POSIX inter-process communication.
    pub(crate) ipc: bool,
    /// Host and domain name.
    pub(crate) uts: bool,
    /// Everything: the kernel has no other user than this sandbox.
    pub(crate) kernel: bool,
}

impl Owned {
    /// What a sandbox with these namespaces owns.
    pub(crate) fn new(namespaces: &Namespaces, joined_net: bool, kernel: bool) -> Owned {
        Owned {
            net: namespaces.net && !joined_net,
            joined_net,
            ipc: namespaces.ipc,
            uts: namespaces.uts,
            kernel,
        }
    }
}

/// Path below /proc/sys: dots become slashes, unless the first separator is a
/// slash already (sysctl(8): `net/ipv4/conf/eth0.1/forwarding`).
fn path(name: &str) -> Option<String> {
    let dotted = name
        .find(['.', '/'])
        .is_some_and(|at| name.as_bytes()[at] == b'.');
    let path = if dotted {
        name.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    } else {
        name.to_owned()
    };
    path.split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..")
        .then_some(path)
}

/// Whether the parameter belongs to a namespace that is the sandbox's own.
fn allowed(path: &str, owned: Owned) -> Result<(), &'static str> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    if owned.kernel {
        return Ok(());
    }
    if path.starts_with("net/") {
        return if owned.net {
            Ok(())
        } else if owned.joined_net {
            Err("the network namespace is another sandbox's")
        } else {
            Err("the sandbox has no network namespace of its own")
        };
    }
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return if owned.ipc {
            Ok(())
        } else {
            Err("the sandbox has no IPC namespace of its own")
        };
    }
    if path == "kernel/domainname" {
        return if owned.uts {
            Ok(())
        } else {
            Err("the sandbox has no UTS namespace of its own")
        };
    }
    Err("it belongs to the whole kernel, not to a namespace")
}

/// Checks names and values; needs no privilege.
pub(crate) fn check(sysctls: &[(String, String)], owned: Owned) -> Result<(), Failure> {
    for (name, _) in sysctls {
        let path = path(name).ok_or_else(|| failure(format!("sysctl '{name}': not a name")))?;
        allowed(&path, owned).map_err(|why| failure(format!("sysctl '{name}': {why}")))?;
    }
    Ok(())
}

/// Writes the parameters; runs in the new namespaces.
pub(crate) fn write(sysctls: &[(String, String)]) -> Result<(), Failure> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let proc: OwnedFd = new_fs("proc", &[], MountAttrFlags::empty())?;
    for (name, value) in sysctls {
        let what = || format!("sysctl '{name}'");
        let path = format!(
            "sys/{}",
            path(name).ok_or_else(|| failure(format!("sysctl '{name}': not a name")))?
        );
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let file = openat2(
            &proc,
            path.as_str(),
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
        .setup(what)?;
        std::fs::File::from(file)
            .write_all(value.as_bytes())
            .setup(what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        for (name, wanted) in [
            ("net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                Some("net/ipv4/conf/eth0.1/forwarding"),
            ),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                Some("net/ipv4/conf/eth0.1/forwarding"),
            ),
            ("net..x", None),
            ("../kernel/x", None),
            ("net/../../x", None),
            ("", None),
        ] {
            assert_eq!(path(name).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn only_own_namespaces_are_written() {
        let none = Owned {
            net: false,
            joined_net: false,
            ipc: false,
            uts: false,
            kernel: false,
        };
        let both = Owned {
            net: true,
            joined_net: false,
            ipc: true,
            uts: true,
            kernel: false,
        };
        let joined = |kernel| {
            let namespaces = Namespaces {
                net: true,
                ..Namespaces::default()
            };
            Owned::new(&namespaces, true, kernel)
        };
        let set = |name: &str| [(name.to_owned(), "1".to_owned())];
        assert!(check(&set("net.ipv4.ip_forward"), both).is_ok());
        assert!(check(&set("net.ipv4.ip_forward"), none).is_err());
        assert!(check(&set("net.ipv4.ip_forward"), joined(false)).is_err());
        assert!(check(&set("net.ipv4.ip_forward"), joined(true)).is_ok());
        assert!(check(&set("kernel.shmmax"), both).is_ok());
        assert!(check(&set("fs.mqueue.msg_max"), none).is_err());
        assert!(check(&set("kernel.domainname"), both).is_ok());
        assert!(check(&set("kernel.domainname"), none).is_err());
        assert!(check(&set("kernel.core_pattern"), both).is_err());
        assert!(
            check(
                &set("kernel.core_pattern"),
                Owned {
                    kernel: true,
                    ..none
                }
            )
            .is_ok()
        );
    }
}

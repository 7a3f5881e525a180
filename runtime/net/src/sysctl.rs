//! The host's switches under /proc/sys/net, of the current network namespace.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::attach::Notice;
use crate::error::{Error, Result};

/// Lets the host route for networks with a way out. Returns what was changed.
pub(crate) fn forward(v6: bool) -> Result<Vec<Notice>> {
    let mut notices = Vec::new();
    let v4 = Path::new("/proc/sys/net/ipv4/ip_forward");
    if set(v4, "1")? {
        notices.push(Notice::new(
            "turned net.ipv4.ip_forward on: the host now routes between its networks",
        ));
    }
    if v6 {
        keep_router_advertisements()?;
        if set(Path::new("/proc/sys/net/ipv6/conf/all/forwarding"), "1")? {
            notices.push(Notice::new(
                "turned net.ipv6.conf.all.forwarding on: the host now routes IPv6 between its networks",
            ));
        }
    }
    Ok(notices)
}

/// A host that routes ignores router advertisements unless `accept_ra` is 2, and
/// would lose its own default route (Documentation/networking/ip-sysctl.rst).
fn keep_router_advertisements() -> Result<()> {
    let folder = Path::new("/proc/sys/net/ipv6/conf");
    let links = fs::read_dir(folder).map_err(|error| Error::io("read", folder, error))?;
    for link in links.flatten() {
        let forwards = fs::read_to_string(link.path().join("forwarding"));
        let accepts = fs::read_to_string(link.path().join("accept_ra"));
        if let (Ok(forwards), Ok(accepts)) = (forwards, accepts)
            && forwards.trim() == "0"
            && accepts.trim() == "1"
        {
            set(&link.path().join("accept_ra"), "2")?;
        }
    }
    Ok(())
}

/// Switches of a bridge: loopback addresses may be routed over it (for ports that
/// are published on 127.0.0.1; the firewall drops such packets from members), and
/// members can't tell the host its routes.
pub(crate) fn bridge(name: &str, v6: bool, internal: bool) -> Result<()> {
    let v4 = Path::new("/proc/sys/net/ipv4/conf").join(name);
    if !internal {
        set(&v4.join("route_localnet"), "1")?;
    }
    let folder: PathBuf = Path::new("/proc/sys/net/ipv6/conf").join(name);
    if folder.exists() {
        set(&folder.join("accept_ra"), "0")?;
        set(&folder.join("disable_ipv6"), if v6 { "0" } else { "1" })?;
    } else if v6 {
        return Err(Error::new(
            crate::error::Kind::System,
            "the network has IPv6, which this host's kernel has not",
        ));
    }
    Ok(())
}

/// Whether packets between ports of a bridge go through the firewall.
pub(crate) fn filters_bridged() -> bool {
    ["iptables", "ip6tables"].iter().any(|family| {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
        fs::read_to_string(path).is_ok_and(|text| text.trim() != "0")
    })
}

/// Writes a value if it is another; tells whether it was.
fn set(path: &Path, value: &str) -> Result<bool> {
    let old = match fs::read_to_string(path) {
        Ok(old) => old,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::io("find", path, error));
        }
        Err(error) => return Err(Error::io("read", path, error)),
    };
    if old.trim() == value {
        return Ok(false);
    }
    fs::write(path, value).map_err(|error| Error::io("write", path, error))?;
    Ok(true)
}

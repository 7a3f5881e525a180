//! Doing something in another network namespace.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Refusal, Result};

/// Calls `work` with the calling thread in the network namespace behind a
/// descriptor, and brings the thread back. Other threads stay where they are, and
/// none is started: a supervisor clones later and must have one thread only.
///
/// # Errors
/// setns(2) refused: the descriptor is no network namespace or CAP_SYS_ADMIN is
/// missing over it or over the own one.
///
/// # Panics
/// If the way back is refused: going on in another namespace would change the
/// wrong host.
pub fn in_namespace<T>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T> {
    let what = "enter a network namespace";
    let own = fs::File::open("/proc/thread-self/ns/net")
        .map_err(|error| Error::new(what, error.to_string()))?;
    let network = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace, network).map_err(|errno| Refusal::from(errno).of(what))?;
    let back = Back(own);
    let result = work();
    drop(back);
    Ok(result)
}

/// Goes back also when the work panics.
struct Back(fs::File);

impl Drop for Back {
    fn drop(&mut self) {
        let network = Some(LinkNameSpaceType::Network);
        if let Err(errno) = move_into_link_name_space(self.0.as_fd(), network) {
            panic!("cannot go back to the own network namespace: {errno}");
        }
    }
}

/// Makes every link of the current network namespace, present and later, ignore
/// router advertisements: a neighbour on the bridge could otherwise become the
/// default route (CVE-2020-13401). To be called in a sandbox's namespace.
///
/// # Errors
/// /proc/sys is there but can't be written. A kernel without IPv6 is fine.
pub fn refuse_router_advertisements() -> Result<()> {
    let what = "refuse router advertisements";
    let folder = "/proc/sys/net/ipv6/conf";
    let links = match fs::read_dir(folder) {
        Ok(links) => links,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::new(what, format!("{folder}: {error}"))),
    };
    for link in links.flatten() {
        let path = link.path().join("accept_ra");
        match fs::write(&path, "0") {
            Ok(()) => {}
            // A link may go while the list is read.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::new(what, format!("{}: {error}", path.display()))),
        }
    }
    Ok(())
}

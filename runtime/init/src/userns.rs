//! User namespaces: the maps of a new one, and one that exists for its maps
//! alone (what an idmapped mount is made with).

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use isola_proto::Failure;
use isola_proto::spec::{IdMap, IdMaps};
use rustix::fs::{Gid, Uid};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::control::Control;
use crate::error::Setup;
use crate::sys;

/// The kernel takes no more lines (user_namespaces(7)).
const LINES: usize = 340;

/// The lines of uid_map or gid_map.
fn lines(maps: &[IdMap]) -> io::Result<String> {
    if maps.is_empty() || maps.len() > LINES || maps.iter().any(|map| map.size == 0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a user namespace needs 1 to 340 ranges, none empty",
        ));
    }
    let mut text = String::new();
    for map in maps {
        let _ = writeln!(text, "{} {} {}", map.inside, map.outside, map.size);
    }
    Ok(text)
}

/// Writes the maps of the user namespace that the process `pid` is in.
pub(crate) fn write_maps(pid: Pid, maps: &IdMaps) -> io::Result<()> {
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    fs::write(format!("{folder}/uid_map"), lines(&maps.uids)?)?;
    fs::write(format!("{folder}/gid_map"), lines(&maps.gids)?)
}

/// Whether `id` inside has a counterpart outside.
pub(crate) fn maps_inside(maps: &[IdMap], id: u32) -> bool {
    maps.iter()
        .any(|map| id >= map.inside && id - map.inside < map.size)
}

/// Child's side: id 0 of the namespace that it was born in, with no further groups.
pub(crate) fn become_root() -> Result<(), Failure> {
    let what = || "become id 0 of the user namespace".to_owned();
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    set_thread_groups(&[]).setup(what)?;
    set_thread_res_gid(gid, gid, gid).setup(what)?;
    set_thread_res_uid(uid, uid, uid).setup(what)
}

/// A user namespace with these maps and no process in it, for mount_setattr(2)
/// with MOUNT_ATTR_IDMAP. Needs the privilege to write the maps and a /proc.
///
/// # Errors
/// Maps that the kernel refuses, or the limit of user namespaces.
pub fn userns_fd(maps: &IdMaps) -> io::Result<OwnedFd> {
    let (ours, theirs) = Control::pair()?;
    match sys::clone3(libc::CLONE_NEWUSER as u64, None)? {
        sys::Forked::Child => {
            // Stays until the maker has opened the namespace, or is gone.
            drop(ours);
            let _ = theirs.receive();
            sys::exit(0)
        }
        sys::Forked::Parent { pid, pidfd } => {
            let namespace = write_maps(pid, maps)
                .and_then(|()| fs::File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero())));
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            waitid(
                WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)),
                WaitIdOptions::EXITED,
            )?;
            Ok(namespace?.into())
        }
    }
}

/// Gives a detached mount (open_tree(2) with OPEN_TREE_CLONE) the ids of a user
/// namespace: what `outside` owns is seen as owned by `inside`.
///
/// # Errors
/// The file system can't be mapped (EINVAL), or a right is missing.
pub fn idmap(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let change = sys::MountChange {
        set: libc::MOUNT_ATTR_IDMAP,
        namespace: Some(namespace),
        ..Default::default()
    };
    sys::mount_setattr(tree, false, change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_become_lines() {
        let map = |inside, outside, size| IdMap {
            inside,
            outside,
            size,
        };
        assert_eq!(
            lines(&[map(0, 100_000, 65_536), map(70_000, 5, 1)]).unwrap(),
            "0 100000 65536\n70000 5 1\n"
        );
        assert!(lines(&[]).is_err());
        assert!(lines(&[map(0, 0, 0)]).is_err());
        assert!(maps_inside(&[map(0, 9, 2)], 1) && !maps_inside(&[map(0, 9, 2)], 2));
        assert!(maps_inside(&[map(u32::MAX - 1, 9, u32::MAX)], u32::MAX));
    }
}

//! File systems beside the root: disks of block volumes, and the host's folders.
//! The sandbox sees of them what its specification binds, and nothing else: all
//! are mounted below a folder that is the agent's alone.

use std::time::Duration;

use isola_proto::message::GuestSpec;
use isola_proto::spec::{SHARES, VOLUMES};
use isola_proto::{ErrorKind, Failure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::disks::{make, mount_device};
use super::setup;
use super::transport::await_some;

/// How long the device with the host's folders may take to come. It is there from
/// the start; only its driver may be busy with it yet.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a tag (virtio specification 1.2, section 5.11.4).
const TAG: usize = 36;

/// Mounts what `guest` names.
pub(super) fn mount_all(guest: &GuestSpec) -> Result<(), Failure> {
    for (index, device) in guest.volumes.iter().enumerate() {
        // Device nodes on a volume could be made wherever else it is mounted.
        // Programs with the set-user-id bit count, as on any volume.
        mount_device(device, &volume(index), "ext4", MountFlags::NODEV)?;
    }
    match &guest.shares {
        Some(tag) => mount_shares(tag),
        None => Ok(()),
    }
}

/// Where the volume with this number is mounted.
pub(super) fn volume(index: usize) -> String {
    format!("{VOLUMES}/{index}")
}

fn mount_shares(tag: &str) -> Result<(), Failure> {
    check_tag(tag)?;
    make(SHARES)?;
    let mounted = await_some(PATIENCE, || {
        match mount(tag, SHARES, "virtiofs", MountFlags::NODEV, None) {
            // No device with this tag: it may still come.
            Err(Errno::INVAL) => Err(Errno::INVAL.into()),
            other => Ok(other),
        }
    });
    let why = match mounted {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(Errno::NODEV)) => "the guest's kernel has no virtio-fs".to_owned(),
        Ok(Err(errno)) => errno.to_string(),
        Err(_) => "no virtio-fs device has this tag".to_owned(),
    };
    Err(setup(format!(
        "can't mount the host's folders ({tag}): {why}"
    )))
}

fn check_tag(tag: &str) -> Result<(), Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=TAG).contains(&tag.len()) && tag.bytes().all(plain) {
        return Ok(());
    }
    let message = format!("{tag:?} is no tag of a virtio-fs device");
    Err(Failure::new(ErrorKind::Invalid, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_tags_are_refused() {
        let long = "x".repeat(TAG + 1);
        for tag in ["", "a/b", "a b", "a,b", "t\0", long.as_str()] {
            assert_eq!(check_tag(tag).unwrap_err().kind, ErrorKind::Invalid);
        }
        for tag in ["isola", &long[1..]] {
            assert!(check_tag(tag).is_ok());
        }
    }
}

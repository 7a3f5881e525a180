//! The descriptors that the configuration names, and the devices made of them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::config::{self, Segment, VmConfig};
use crate::machine::{Error, device_error};
use crate::virtio::block::{Block, Extent, Extents};
use crate::virtio::net::Net;
use crate::virtio::vsock::Vsock;

/// The descriptors that the configuration names.
pub(crate) struct Descriptors(HashMap<RawFd, OwnedFd>);

impl Descriptors {
    /// Takes over all that the configuration names.
    pub(crate) fn take(config: &VmConfig) -> Result<Descriptors, Error> {
        // The standard ones stay open as they are: messages go there.
        let take = |fd| {
            let owned = match fd {
                0 => io::stdin().as_fd().try_clone_to_owned(),
                1 => io::stdout().as_fd().try_clone_to_owned(),
                2 => io::stderr().as_fd().try_clone_to_owned(),
                _ => crate::sys::take_fd(fd),
            };
            owned
                .map(|owned| (fd, owned))
                .map_err(|why| Error::Descriptor { fd, why })
        };
        Ok(Descriptors(
            config
                .descriptors()
                .into_iter()
                .map(take)
                .collect::<Result<_, _>>()?,
        ))
    }

    /// A descriptor of its own for one use: the same number may be named twice.
    pub(crate) fn get(&self, fd: RawFd) -> Result<OwnedFd, Error> {
        let owned = self.0.get(&fd).ok_or(Error::Descriptor {
            fd,
            why: io::ErrorKind::NotFound.into(),
        })?;
        owned
            .try_clone()
            .map_err(|why| Error::Descriptor { fd, why })
    }
}

pub(crate) fn open_disk(disk: &config::Disk, fds: &Descriptors) -> Result<Block, Error> {
    let mut files: HashMap<RawFd, Arc<File>> = HashMap::new();
    let mut extents = Vec::new();
    for segment in &disk.segments {
        extents.push(match segment {
            Segment::File { fd, offset, len } => {
                let file = match files.get(fd) {
                    Some(file) => file.clone(),
                    None => Arc::new(File::from(fds.get(*fd)?)),
                };
                files.insert(*fd, file.clone());
                Extent::File {
                    file,
                    offset: *offset,
                    len: *len,
                }
            }
            Segment::Bytes(bytes) => Extent::Bytes(bytes.clone()),
            Segment::Zero { len } => Extent::Zero { len: *len },
        });
    }
    let extents = Extents::new(extents).map_err(device_error(format!("disk {:?}", disk.serial)))?;
    Ok(Block::new(extents, disk.readonly, &disk.serial))
}

pub(crate) fn open_vsock(vsock: &config::Vsock, fds: &Descriptors) -> Result<Vsock, Error> {
    let listener = vsock.listener_fd.map(|fd| fds.get(fd)).transpose()?;
    let mut offered = HashMap::new();
    for port in &vsock.ports {
        offered.insert(port.port, fds.get(port.fd)?);
    }
    Vsock::new(vsock.cid, listener, offered).map_err(device_error("socket device"))
}

pub(crate) fn open_nic(index: usize, nic: &config::Nic, fds: &Descriptors) -> Result<Net, Error> {
    let queues: Result<Vec<_>, _> = nic.queues.iter().map(|fd| fds.get(*fd)).collect();
    Net::new(queues?, nic.mac, nic.mtu).map_err(device_error(format!("network device {index}")))
}

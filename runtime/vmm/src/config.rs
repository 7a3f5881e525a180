//! What a machine consists of. Pure data: descriptors are numbers in the process
//! of `isola-vmm`, opened by its parent. The program opens nothing by itself.

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use crate::layout;

/// Bytes in a sector (virtio 1.2, section 5.2).
pub const SECTOR: u64 = 512;
/// Most vCPUs of one machine.
pub const MAX_VCPUS: u32 = 64;
/// Least memory of a machine in bytes; kernels need far more.
pub const MIN_MEMORY: u64 = 2 << 20;
/// Longest kernel command line in bytes without the final zero (COMMAND_LINE_SIZE
/// of x86-64).
pub const MAX_CMDLINE: usize = 2047;
/// Most queue pairs of a network device.
pub const MAX_QUEUE_PAIRS: usize = 16;
/// Longest tag of shared folders in bytes (virtio 1.2, section 5.11.4).
pub const MAX_TAG: usize = 36;
/// Most queues for requests of shared folders.
pub const MAX_SHARE_QUEUES: usize = 16;
/// Largest piece of data that is part of the configuration itself, in bytes.
pub const MAX_INLINE: usize = 1 << 20;

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmConfig {
    /// `/dev/kvm`, opened for reading and writing.
    pub kvm_fd: RawFd,
    /// Kernel: an ELF file with a PVH note (`vmlinux`), or a bzImage.
    pub kernel_fd: RawFd,
    /// Initial RAM file system.
    #[serde(default)]
    pub initrd_fd: Option<RawFd>,
    /// Kernel command line. With the word `acpi=off` the virtio devices are added
    /// to it (`virtio_mmio.device=`): say so for kernels without ACPI, too, which
    /// ignore the word. Others find the devices in ACPI's tables; one that was told
    /// both ways finds each device twice and complains.
    pub cmdline: String,
    /// Guest memory in bytes, a multiple of 4096.
    pub memory_bytes: u64,
    /// Number of vCPUs.
    pub vcpus: u32,
    /// Disks in the order in which the guest numbers them (`vda`, `vdb`...).
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Socket device.
    #[serde(default)]
    pub vsock: Option<Vsock>,
    /// Network devices in the order in which the guest numbers them (`eth0`...).
    #[serde(default)]
    pub nics: Vec<Nic>,
    /// Shared folders. The guest's memory is then shared with their server.
    #[serde(default)]
    pub shares: Option<Share>,
    /// Serial port (`ttyS0`).
    pub console: Console,
    /// Give the guest a random number device.
    #[serde(default)]
    pub entropy: bool,
    /// Where the program writes one JSON object per line about its state
    /// ([`crate::outcome::Event`]).
    #[serde(default)]
    pub status_fd: Option<RawFd>,
    /// A connected stream socket for commands, see [`crate::outcome::Command`].
    /// When the other side closes it, the machine is stopped at once.
    #[serde(default)]
    pub control_fd: Option<RawFd>,
}

/// A disk: its segments one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Content. The lengths add up to a multiple of [`SECTOR`].
    pub segments: Vec<Segment>,
    /// Refuse writes. A writable disk has file segments only.
    pub readonly: bool,
    /// Name that the guest finds in `/sys/block/*/serial`, at most 20 bytes.
    #[serde(default)]
    pub serial: String,
}

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Segment {
    /// A part of an opened file.
    File {
        /// The file.
        fd: RawFd,
        /// First byte in the file.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// These bytes (hexadecimal digits in JSON).
    Bytes(#[serde(with = "hex::serde")] Vec<u8>),
    /// Zeros.
    Zero {
        /// Number of bytes.
        len: u64,
    },
}

impl Segment {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Segment::File { len, .. } | Segment::Zero { len } => *len,
            Segment::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The socket device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// The guest's context id, 3 or more (vsock(7)).
    pub cid: u32,
    /// A listening UNIX stream socket. Who connects writes `CONNECT <port>\n`, is
    /// joined to that port of the guest and reads `OK <number>\n`; a connection
    /// that the guest refuses is closed without an answer.
    #[serde(default)]
    pub listener_fd: Option<RawFd>,
    /// Ports of the host (CID 2) that the guest may connect to.
    #[serde(default)]
    pub ports: Vec<Port>,
}

/// A port of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its number.
    pub port: u32,
    /// A connected stream socket that the guest's first connection is joined to;
    /// later ones are refused.
    pub fd: RawFd,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// A descriptor of the tap device per queue pair, made with `IFF_TAP`,
    /// `IFF_NO_PI` and `IFF_VNET_HDR`, and `IFF_MULTI_QUEUE` when there are several.
    /// Each has a thread: as many as the guest has vCPUs are of use.
    pub queues: Vec<RawFd>,
    /// The guest's address on the link (12 hexadecimal digits in JSON).
    #[serde(with = "hex::serde")]
    pub mac: [u8; 6],
    /// Largest packet of the link in bytes; the guest's own choice (1500) if absent.
    #[serde(default)]
    pub mtu: Option<u16>,
}

/// Shared folders: a virtio-fs device that another process serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// A stream socket connected to the server, which speaks vhost-user. When the
    /// server goes, the machine ends with an error.
    pub socket_fd: RawFd,
    /// The name by which the guest mounts them.
    pub tag: String,
    /// Queues for requests, at most one per vCPU.
    pub queues: u32,
}

/// The serial port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// Where the guest's output goes. A reader that does not keep up slows the
    /// guest down.
    pub output_fd: RawFd,
    /// Where input comes from.
    #[serde(default)]
    pub input_fd: Option<RawFd>,
}

/// Why a configuration makes no machine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Too little, or not whole pages.
    #[error("memory of {0} bytes: it must be a multiple of 4096, at least {MIN_MEMORY}")]
    Memory(u64),
    /// None or too many.
    #[error("{0} vCPUs: there must be 1 to {MAX_VCPUS}")]
    Vcpus(u32),
    /// Too long, or with a byte that ends it.
    #[error("the kernel command line is over {MAX_CMDLINE} bytes, or holds a zero byte")]
    Cmdline,
    /// More than there are interrupt lines.
    #[error("{0} devices: a machine has at most {max}", max = layout::MAX_DEVICES)]
    Devices(usize),
    /// A disk that can't be.
    #[error("disk {index}: {problem}")]
    Disk {
        /// Its place in the list.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A network device that can't be.
    #[error("network device {index}: {problem}")]
    Nic {
        /// Its place in the list.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Shared folders that can't be.
    #[error("shared folders: {0}")]
    Share(&'static str),
    /// Reserved, or a port twice.
    #[error("vsock: {0}")]
    Vsock(&'static str),
    /// A descriptor number below zero.
    #[error("descriptor {0} is not one")]
    Descriptor(RawFd),
}

impl VmConfig {
    /// Checks everything that can be known without touching a descriptor.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.memory_bytes < MIN_MEMORY || !self.memory_bytes.is_multiple_of(4096) {
            return Err(ConfigError::Memory(self.memory_bytes));
        }
        if self.vcpus == 0 || self.vcpus > MAX_VCPUS {
            return Err(ConfigError::Vcpus(self.vcpus));
        }
        if self.cmdline.len() > MAX_CMDLINE || self.cmdline.contains('\0') {
            return Err(ConfigError::Cmdline);
        }
        let devices = self.device_count();
        if devices > layout::MAX_DEVICES {
            return Err(ConfigError::Devices(devices));
        }
        for (index, disk) in self.disks.iter().enumerate() {
            disk.validate()
                .map_err(|problem| ConfigError::Disk { index, problem })?;
        }
        if let Some(vsock) = &self.vsock {
            vsock.validate().map_err(ConfigError::Vsock)?;
        }
        for (index, nic) in self.nics.iter().enumerate() {
            nic.validate()
                .map_err(|problem| ConfigError::Nic { index, problem })?;
        }
        if let Some(share) = &self.shares {
            share.validate(self.vcpus).map_err(ConfigError::Share)?;
        }
        match self.descriptors().into_iter().find(|fd| *fd < 0) {
            Some(fd) => Err(ConfigError::Descriptor(fd)),
            None => Ok(()),
        }
    }

    /// Whether the kernel has no use for ACPI's tables.
    pub(crate) fn without_acpi(&self) -> bool {
        self.cmdline
            .split_whitespace()
            .any(|word| word == "acpi=off")
    }

    /// Number of virtio devices.
    pub fn device_count(&self) -> usize {
        let single = usize::from(self.vsock.is_some()) + usize::from(self.entropy);
        self.disks.len() + self.nics.len() + single + usize::from(self.shares.is_some())
    }

    /// Every descriptor that is named, sorted, each once: what the parent passes
    /// on, and all that the program keeps open.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mut fds = vec![self.kvm_fd, self.kernel_fd, self.console.output_fd];
        fds.extend(self.initrd_fd);
        fds.extend(self.console.input_fd);
        fds.extend(self.status_fd);
        fds.extend(self.control_fd);
        for disk in &self.disks {
            fds.extend(disk.segments.iter().filter_map(|segment| match segment {
                Segment::File { fd, .. } => Some(*fd),
                _ => None,
            }));
        }
        if let Some(vsock) = &self.vsock {
            fds.extend(vsock.listener_fd);
            fds.extend(vsock.ports.iter().map(|port| port.fd));
        }
        fds.extend(self.nics.iter().flat_map(|nic| &nic.queues));
        fds.extend(self.shares.iter().map(|share| share.socket_fd));
        fds.sort_unstable();
        fds.dedup();
        fds
    }
}

impl Disk {
    /// Size in bytes, unless it overflows.
    pub fn size(&self) -> Option<u64> {
        self.segments
            .iter()
            .try_fold(0u64, |sum, segment| sum.checked_add(segment.len()))
    }

    fn validate(&self) -> Result<(), &'static str> {
        let size = self.size().ok_or("its size overflows")?;
        if size == 0 || !size.is_multiple_of(SECTOR) {
            return Err("its size must be a multiple of 512 and above 0");
        }
        if self.serial.len() > 20 {
            return Err("its serial is over 20 bytes");
        }
        for segment in &self.segments {
            match segment {
                _ if segment.is_empty() => return Err("a segment is empty"),
                Segment::File { offset, len, .. } => {
                    let end = offset
                        .checked_add(*len)
                        .ok_or("a segment's end overflows")?;
                    i64::try_from(end).map_err(|_| "a segment's end overflows")?;
                }
                _ if !self.readonly => return Err("a writable disk has file segments only"),
                Segment::Bytes(bytes) if bytes.len() > MAX_INLINE => {
                    return Err("a segment of bytes is over 1 MiB");
                }
                Segment::Bytes(_) | Segment::Zero { .. } => {}
            }
        }
        Ok(())
    }
}

impl Vsock {
    fn validate(&self) -> Result<(), &'static str> {
        if self.cid < 3 || self.cid == u32::MAX {
            return Err("the guest's context id must be 3 or more");
        }
        let mut ports: Vec<u32> = self.ports.iter().map(|port| port.port).collect();
        ports.sort_unstable();
        if ports.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a port is given twice");
        }
        Ok(())
    }
}

impl Share {
    fn validate(&self, vcpus: u32) -> Result<(), &'static str> {
        if self.tag.is_empty() || self.tag.len() > MAX_TAG || self.tag.contains('\0') {
            return Err("the tag must have 1 to 36 bytes without a zero");
        }
        // Linux sets up as many queues as it has CPUs, and all must be set up.
        if self.queues == 0 || self.queues > vcpus || self.queues as usize > MAX_SHARE_QUEUES {
            return Err("there must be 1 to 16 queues, no more than vCPUs");
        }
        Ok(())
    }
}

impl Nic {
    fn validate(&self) -> Result<(), &'static str> {
        /// Least MTU of IPv4 (RFC 791), which virtio takes over (section 5.1.4.1).
        const LEAST_MTU: u16 = 68;
        const GROUP: u8 = 1;
        if self.queues.is_empty() || self.queues.len() > MAX_QUEUE_PAIRS {
            return Err("there must be 1 to 16 queues");
        }
        let mut fds = self.queues.clone();
        fds.sort_unstable();
        if fds.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a queue is given twice");
        }
        if self.mac == [0; 6] || self.mac[0] & GROUP != 0 {
            return Err("its address is that of no single device");
        }
        if self.mtu.is_some_and(|mtu| mtu < LEAST_MTU) {
            return Err("its MTU is below 68");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

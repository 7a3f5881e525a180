//! From a workload to the parts of a guest.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use isola_kernel::Kernels;
use isola_proto::message::GuestSpec;
use isola_proto::spec::{SHARES, VOLUMES};

use crate::backend::LaunchContext;
use crate::cgroup::{DevicePolicy, Limits};
use crate::engine::helper;
use crate::error::{Error, Kind, Result};
use crate::rootfs::RootLayer;
use crate::state::Paths;
use crate::storage::Source;
use crate::workload::{Disk, Workload};

use super::layers::{Segment, disk as layer_disk};
use super::nics::{self, Nic};
use super::{disk, link::Patience};

/// The tag of the virtio-fs device.
pub(crate) const TAG: &str = "isola";

/// Memory of a guest when the workload names none, in bytes.
const MEMORY: u64 = 512 << 20;
/// The device names by which the guest finds its disks: first the layers, one
/// partition each, then the writable one.
const LAYERS: &str = "vda";
const WRITABLE: &str = "vdb";

/// What a machine is made of.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Kernel file.
    pub(crate) kernel: PathBuf,
    /// Initramfs with the agent.
    pub(crate) initramfs: PathBuf,
    /// Kernel command line.
    pub(crate) cmdline: String,
    /// Bytes of memory, whole pages.
    pub(crate) memory: u64,
    /// Number of vCPUs.
    pub(crate) vcpus: u32,
    /// The disk with the layers.
    pub(crate) layers: Vec<Segment>,
    /// The writable disk.
    pub(crate) disk: PathBuf,
    /// Disks of block volumes, and whether they are read-only.
    pub(crate) volumes: Vec<(File, bool)>,
    /// Folders and files of the host that it sees by virtio-fs.
    pub(crate) shares: Vec<Share>,
    /// Network devices.
    pub(crate) nics: Vec<Nic>,
    /// Where the sources of the workload's mounts are in the guest.
    pub(crate) sources: Vec<Option<String>>,
    /// What the agent is told.
    pub(crate) guest: GuestSpec,
    /// How long it may take.
    pub(crate) patience: Patience,
}

/// A folder or file of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Its path, in the supervisor's mount namespace.
    pub(crate) path: PathBuf,
    /// Refuse writes.
    pub(crate) readonly: bool,
    /// The guest may be a second behind.
    pub(crate) cached: bool,
}

/// How the agent reaches the host, as the word on the kernel's command line that
/// it looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// virtio-vsock.
    Vsock,
    /// A virtio-serial port.
    VirtioPort,
}

impl Plan {
    /// Finds or makes everything that the guest of `context` needs. Its network
    /// devices have at most `queues` pairs of queues.
    ///
    /// # Errors
    /// There is no guest kernel, no agent, or no room for the disk.
    pub(crate) fn make(
        context: &LaunchContext<'_>,
        transport: Transport,
        boot: Duration,
        queues: u16,
    ) -> Result<Plan> {
        let workload = &context.record.workload;
        let paths = root_of(context);
        let kernel = Kernels::open(paths.kernels()).default_kernel().map_err(|error| {
            let hint = "`isola kernel fetch` unpacks the distribution's in seconds, `isola kernel build` makes a smaller and faster one";
            Error::new(Kind::Unsupported, error.to_string()).hint(hint)
        })?;
        let files = kernel
            .boot_files(&helper("isola-agent")?)
            .map_err(|error| Error::new(Kind::System, error.to_string()))?;
        let disk_size = workload.disk.unwrap_or(Disk {
            size: 10 << 30,
            thick: false,
        });
        disk::ensure(
            &context.paths.disk(),
            disk_size,
            &paths.root().join("templates"),
        )?;
        let layers = sized_layers(&context.record.layers)?;
        let mut mounted = Mounted::default();
        for source in context.storage.sources() {
            mounted.add(source)?;
        }
        let nics = nics::make(&context.links.borrow(), vcpus(workload), queues)?;
        let mut guest = guest(workload, layers.len())?;
        guest.volumes = (0..mounted.volumes.len())
            .map(|number| device(number + 2))
            .collect();
        guest.shares = (!mounted.shares.is_empty()).then(|| TAG.to_owned());
        guest.interfaces = nics.iter().map(|nic| nic.interface.clone()).collect();
        Ok(Plan {
            kernel: files.kernel,
            initramfs: files.initramfs,
            cmdline: cmdline(transport),
            memory: workload
                .resources
                .memory
                .unwrap_or(MEMORY)
                .next_multiple_of(4096),
            vcpus: vcpus(workload),
            guest,
            volumes: mounted.volumes,
            shares: mounted.shares,
            sources: mounted.sources,
            nics,
            layers: layer_disk(&layers)?,
            disk: context.paths.disk(),
            patience: Patience {
                boot,
                silence: boot,
            },
        })
    }
}

/// What the workload's mounts become in a guest.
#[derive(Debug, Default)]
struct Mounted {
    volumes: Vec<(File, bool)>,
    shares: Vec<Share>,
    sources: Vec<Option<String>>,
}

impl Mounted {
    fn add(&mut self, source: &Source) -> Result<()> {
        let place = match source {
            Source::None => None,
            Source::Path {
                path,
                readonly,
                cached,
                ..
            } => {
                self.shares.push(Share {
                    path: path.clone(),
                    readonly: *readonly,
                    cached: *cached,
                });
                Some(format!("{SHARES}/{}", self.shares.len() - 1))
            }
            Source::Disk { file, readonly } => {
                let file = file
                    .try_clone()
                    .map_err(|error| Error::system("duplicate a descriptor", error))?;
                self.volumes.push((file, *readonly));
                Some(format!("{VOLUMES}/{}", self.volumes.len() - 1))
            }
        };
        self.sources.push(place);
        Ok(())
    }
}

/// The name of the guest's block device with this number: `vda`, `vdb`... `vdaa`.
fn device(number: usize) -> String {
    let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
    match number / 26 {
        0 => format!("vd{}", letter(number)),
        tens => format!("vd{}{}", letter(tens - 1), letter(number)),
    }
}

/// The limits of a machine whose program needs `overhead` bytes beyond the guest's
/// memory (page cache of the disks counts, too, but can be taken back). What the workload is held to inside (processes,
/// parts of a CPU) the guest does; the host holds the machine to all of it.
pub(crate) fn holds(workload: &Workload, overhead: u64) -> (Limits, DevicePolicy) {
    let memory = workload.resources.memory.unwrap_or(MEMORY);
    let limits = Limits {
        memory: Some(memory + overhead),
        memory_swap: workload
            .resources
            .memory_swap
            .map(|total| total.saturating_add(overhead)),
        pids: Some(u64::from(vcpus(workload)) + 64),
        // A machine has threads beside its vCPUs; they share what was asked for. Its
        // disks and shares are files of the host, read and written in its group.
        ..Limits::from(&workload.resources)
    };
    // All descriptors are opened by the supervisor, outside of the group.
    (
        limits,
        DevicePolicy::Only {
            rules: Vec::new(),
            required: false,
        },
    )
}

fn root_of(context: &LaunchContext<'_>) -> Paths {
    // ROOT/instances/ID
    let root = context
        .paths
        .dir()
        .parent()
        .and_then(|instances| instances.parent());
    Paths::new(root.unwrap_or(context.paths.dir()))
}

fn sized_layers(layers: &[RootLayer]) -> Result<Vec<(PathBuf, u64)>> {
    let mut sized = Vec::new();
    for layer in layers {
        match layer {
            RootLayer::Erofs(path) => {
                let size = std::fs::metadata(path)
                    .map_err(|error| Error::io("read the layer", path, error))?
                    .len();
                sized.push((path.clone(), size));
            }
            RootLayer::Directory(path) => {
                let message = format!(
                    "the layer {} is an unpacked folder, which a guest can't mount",
                    path.display()
                );
                return Err(Error::new(Kind::Unsupported, message)
                    .hint("load the image again on a kernel with EROFS"));
            }
        }
    }
    Ok(sized)
}

fn vcpus(workload: &Workload) -> u32 {
    let wanted = workload.resources.vcpus.unwrap_or(1);
    wanted.clamp(1, isola_vmm::config::MAX_VCPUS)
}

fn cmdline(transport: Transport) -> String {
    let transport = match transport {
        Transport::Vsock => "vsock",
        Transport::VirtioPort => "virtio-port",
    };
    // A panic resets the machine at once, and the machine program ends with that.
    format!(
        "console=ttyS0 quiet panic=-1 reboot=t 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd \
         random.trust_cpu=on no_timer_check rdinit=/init isola.transport={transport}"
    )
}

fn guest(workload: &Workload, layers: usize) -> Result<GuestSpec> {
    let mut entropy = vec![0_u8; 64];
    getrandom::fill(&mut entropy)
        .map_err(|error| Error::new(Kind::System, format!("cannot get random bytes: {error}")))?;
    let cpus = workload
        .resources
        .cpu_milli()
        .filter(|milli| milli % 1000 != 0);
    Ok(GuestSpec {
        // Filled in by whoever sends this, after the kernel has booted.
        time_ns: 0,
        entropy,
        layers: (1..=layers)
            .map(|number| format!("{LAYERS}{number}"))
            .collect(),
        writable: Some(WRITABLE.to_owned()),
        volumes: Vec::new(),
        shares: None,
        interfaces: Vec::new(),
        pids_limit: workload.resources.pids,
        cpu_percent: cpus.map(|milli| milli.div_ceil(10)),
    })
}

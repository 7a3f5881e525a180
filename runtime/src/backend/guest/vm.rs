//! A guest under our own machine monitor.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use isola_proto::ExitStatus;
use isola_vmm::config::{
    Console as ConsoleConfig, Disk, Nic as NicConfig, Port, Segment as DiskSegment,
    Share as ShareConfig, VmConfig, Vsock,
};
use isola_vmm::outcome::Outcome;

use crate::backend::{Backend, LaunchContext, Sandbox, Unusable};
use crate::cgroup::{DevicePolicy, Limits};
use crate::engine::helper;
use crate::error::{Error, Kind, Result};
use crate::state::Paths;
use crate::workload::{Isolation, Workload};

use super::console::Console;
use super::jail::{Descriptors, Jail, open};
use super::layers::Segment;
use super::link::AgentLink;
use super::nics::Plugs;
use super::plan::{Plan, TAG, Transport};
use super::sandbox::{GuestSandbox, Parts};
use super::shares;

/// Port of the host that the agent dials.
const AGENT_PORT: u32 = 1024;
/// The guest's context id. Each machine has a vsock device of its own that leads
/// to its own supervisor only, so all may have the same.
const GUEST_CID: u32 = 3;
/// How long a guest may take to come up.
const BOOT: Duration = Duration::from_secs(60);

/// Most pairs of queues of a network device; each is a thread.
const QUEUES: u16 = 4;

/// Memory of the monitor itself, with room for page cache.
const OVERHEAD: u64 = 128 << 20;

/// The backend for `vm`.
#[derive(Debug)]
pub struct Vm;

impl Backend for Vm {
    fn isolation(&self) -> Isolation {
        Isolation::Vm
    }

    fn probe(&self, paths: &Paths) -> std::result::Result<(), Unusable> {
        super::probe::vm(paths)
    }

    fn holds(&self, workload: &Workload) -> (Limits, DevicePolicy) {
        super::plan::holds(workload, OVERHEAD)
    }

    fn launch(&self, context: &LaunchContext<'_>) -> Result<Box<dyn Sandbox>> {
        let mut plan = Plan::make(context, Transport::Vsock, BOOT, QUEUES)?;
        let plugs = Plugs::of(&plan.nics);
        let served = shares::start(context, &plan.shares)?;
        let (served, socket) = served.unzip();
        let failed = |error: std::io::Error| Error::system("make a socket", error);
        let (agent, agent_end) = UnixStream::pair().map_err(failed)?;
        let (console, console_end) = UnixStream::pair().map_err(failed)?;
        let mut descriptors = Descriptors::default();
        let config = config(&mut plan, &mut descriptors, agent_end, console_end, socket)?;
        let config = descriptors.add(memory_file(&config)?);
        let messages = context.paths.dir().join("machine.log");
        let jail = Jail {
            program: Some(open(&helper("isola-vmm")?, false)?.into()),
            args: vec![
                "isola-vmm".to_owned(),
                "--config-fd".to_owned(),
                config.to_string(),
            ],
            mounts: Vec::new(),
            // The monitor installs a filter per thread once it knows its threads.
            seccomp: Vec::new(),
            capabilities: &[],
            descriptors,
            messages: &messages,
            cgroup: context.cgroup,
        };
        let console = Console::new(
            console.into(),
            &context.paths.console(),
            &context.paths.console_socket(),
        )
        .map_err(|error| Error::system("serve the guest's console", error))?;
        let link = AgentLink::new(agent.into(), plan.guest, plan.patience).map_err(failed)?;
        Ok(Box::new(GuestSandbox::new(
            jail.start()?,
            Parts {
                link,
                console,
                sources: plan.sources,
                plugs,
                shares: served,
                stall: None,
            },
            explain,
            messages,
        )))
    }
}

/// The machine's configuration, and its descriptors at the numbers named in it.
fn config(
    plan: &mut Plan,
    fds: &mut Descriptors,
    agent: UnixStream,
    console: UnixStream,
    shares: Option<UnixStream>,
) -> Result<VmConfig> {
    let mut segments = Vec::new();
    for segment in &plan.layers {
        segments.push(match segment {
            Segment::Bytes(bytes) => DiskSegment::Bytes(bytes.clone()),
            Segment::Zero(len) => DiskSegment::Zero { len: *len },
            Segment::File(path, len) => DiskSegment::File {
                fd: fds.add(open(path, false)?),
                offset: 0,
                len: *len,
            },
        });
    }
    let disk = open(&plan.disk, true)?;
    let mut disks = vec![
        Disk {
            segments,
            readonly: true,
            serial: "layers".to_owned(),
        },
        whole(fds, disk, false, "writable".to_owned())?,
    ];
    for (number, (file, readonly)) in plan.volumes.drain(..).enumerate() {
        disks.push(whole(fds, file, readonly, format!("volume{number}"))?);
    }
    let nics = plan.nics.iter_mut().map(|nic| NicConfig {
        queues: nic.queues.drain(..).map(|queue| fds.add(queue)).collect(),
        mac: nic.mac.0,
        mtu: nic.mtu.and_then(|mtu| u16::try_from(mtu).ok()),
    });
    let nics = nics.collect();
    let input = console
        .try_clone()
        .map_err(|error| Error::system("duplicate a descriptor", error))?;
    Ok(VmConfig {
        kvm_fd: fds.add(open(Path::new("/dev/kvm"), true)?),
        kernel_fd: fds.add(open(&plan.kernel, false)?),
        initrd_fd: Some(fds.add(open(&plan.initramfs, false)?)),
        cmdline: plan.cmdline.clone(),
        memory_bytes: plan.memory,
        vcpus: plan.vcpus,
        disks,
        vsock: Some(Vsock {
            cid: GUEST_CID,
            listener_fd: None,
            ports: vec![Port {
                port: AGENT_PORT,
                fd: fds.add(agent),
            }],
        }),
        nics,
        shares: shares.map(|socket| ShareConfig {
            socket_fd: fds.add(socket),
            tag: TAG.to_owned(),
            queues: 1,
        }),
        console: ConsoleConfig {
            output_fd: fds.add(console),
            input_fd: Some(fds.add(input)),
        },
        entropy: true,
        status_fd: None,
        control_fd: None,
    })
}

/// A disk that is all of one file.
fn whole(fds: &mut Descriptors, file: File, readonly: bool, serial: String) -> Result<Disk> {
    let len = file
        .metadata()
        .map_err(|error| Error::system(format!("read the size of the disk {serial}"), error))?
        .len();
    Ok(Disk {
        segments: vec![DiskSegment::File {
            fd: fds.add(file),
            offset: 0,
            len,
        }],
        readonly,
        serial,
    })
}

fn memory_file(config: &VmConfig) -> Result<File> {
    let failed = |error: std::io::Error| Error::system("pass the machine's configuration", error);
    let fd = rustix::fs::memfd_create("isola-vmm-config", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|error| failed(error.into()))?;
    let mut file = File::from(fd);
    let text =
        serde_json::to_vec(config).map_err(|error| Error::new(Kind::System, error.to_string()))?;
    file.write_all(&text)
        .and_then(|()| file.rewind())
        .map_err(failed)?;
    Ok(file)
}

fn explain(status: ExitStatus) -> String {
    let outcome = match status {
        ExitStatus::Code(code) => Outcome::from_code(code),
        ExitStatus::Signal(signal) => {
            return format!("the machine monitor was ended by signal {signal}");
        }
    };
    match outcome {
        Some(Outcome::PoweredOff) => "the guest switched itself off".to_owned(),
        Some(Outcome::Reset) => "the guest reset itself".to_owned(),
        Some(Outcome::Crashed) => "the guest crashed".to_owned(),
        Some(Outcome::Stopped) => "the machine was stopped".to_owned(),
        Some(Outcome::Error) | None => "the machine monitor failed".to_owned(),
    }
}

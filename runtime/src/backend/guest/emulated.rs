//! A guest under QEMU's microvm machine with a software CPU, for hosts on which
//! KVM can't run one.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isola_proto::ExitStatus;
use isola_proto::spec::{Mount, MountSource};

use crate::backend::{Backend, LaunchContext, Sandbox, Unusable};
use crate::cgroup::{DevicePolicy, Limits};
use crate::error::{Error, Kind, Result};
use crate::observe::tsc_khz;
use crate::seccomp;
use crate::state::Paths;
use crate::workload::{HostFacts, Isolation, Workload};

use super::console::Console;
use super::jail::{Descriptors, Jail, open};
use super::layers::{Segment, write_vmdk};
use super::link::AgentLink;
use super::nics::Plugs;
use super::plan::{Plan, TAG, Transport};
use super::sandbox::{GuestSandbox, Parts};
use super::shares;
use super::stall::Stall;

/// Software emulation on a busy host is slow.
const BOOT: Duration = Duration::from_secs(180);
/// Pairs of queues of a network device: one thread of QEMU serves all devices.
const QUEUES: u16 = 1;
/// Where the jail shows the guest's files.
const FILES: &str = "/guest";

/// Translated code in MiB; QEMU's default is a quarter of the host's memory.
const TRANSLATED: u64 = 128;
/// Memory of QEMU beyond the guest's, with the translated code.
const OVERHEAD: u64 = (TRANSLATED + 192) << 20;

/// The backend for `emulated`.
#[derive(Debug)]
pub struct Emulated;

/// Where QEMU is.
pub fn find_qemu() -> Option<PathBuf> {
    [
        "/usr/bin/qemu-system-x86_64",
        "/usr/local/bin/qemu-system-x86_64",
    ]
    .iter()
    .map(PathBuf::from)
    .find(|path| path.is_file())
}

impl Backend for Emulated {
    fn isolation(&self) -> Isolation {
        Isolation::Emulated
    }

    fn probe(&self, _paths: &Paths) -> std::result::Result<(), Unusable> {
        let missing = || Unusable {
            reason: "QEMU (qemu-system-x86_64) is not installed".to_owned(),
            hint: Some("apt-get install qemu-system-x86".to_owned()),
        };
        find_qemu().map(drop).ok_or_else(missing)
    }

    fn holds(&self, workload: &Workload) -> (Limits, DevicePolicy) {
        super::plan::holds(workload, OVERHEAD)
    }

    fn launch(&self, context: &LaunchContext<'_>) -> Result<Box<dyn Sandbox>> {
        let qemu = find_qemu().ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "QEMU (qemu-system-x86_64) is not installed",
            )
        })?;
        let mut plan = Plan::make(context, Transport::VirtioPort, BOOT, QUEUES)?;
        let plugs = Plugs::of(&plan.nics);
        let served = shares::start(context, &plan.shares)?;
        let (served, socket) = served.unzip();
        // The software CPU shows the host's counter. A guest that measures its rate
        // on a busy host may get it wrong and hang.
        // QEMU up to 7.2 loses the flags register when something interrupts CMPXCHG16B,
        // on which the kernel's allocator lives; without bit 141 it does without.
        plan.cmdline.push_str(&format!(
            " clearcpuid=141 tsc=reliable tsc_early_khz={}",
            tsc_khz()
        ));
        let failed = |error: std::io::Error| Error::system("make a socket", error);
        let (agent, agent_end) = UnixStream::pair().map_err(failed)?;
        let (console, console_end) = UnixStream::pair().map_err(failed)?;
        let mut descriptors = Descriptors::default();
        let devices = Devices {
            agent: descriptors.add(agent_end),
            console: descriptors.add(console_end),
            shares: socket.map(|socket| descriptors.add(socket)),
            taps: plan
                .nics
                .iter_mut()
                .flat_map(|nic| nic.queues.drain(..))
                .map(|queue| descriptors.add(queue))
                .collect(),
            volumes: std::mem::take(&mut plan.volumes)
                .into_iter()
                .map(|(file, readonly)| VolumeDisk::add(file, readonly, &mut descriptors))
                .collect::<Result<_>>()?,
        };
        let vmdk = write_vmdk(&plan.layers, context.paths.dir(), &seen)?;
        let messages = context.paths.dir().join("machine.log");
        let jail = Jail {
            program: None,
            args: arguments(&qemu, &plan, &vmdk, &devices),
            mounts: mounts(&plan, &vmdk, context.paths.dir()),
            seccomp: seccomp::default_filter(&seccomp::Grants {
                capabilities: &[],
                kernel: HostFacts::read()?.kernel,
            }),
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
        let machine = jail.start()?;
        let stall = Some(Stall::new(machine.pid));
        Ok(Box::new(GuestSandbox::new(
            machine,
            Parts {
                link,
                console,
                sources: plan.sources,
                plugs,
                shares: served,
                stall,
            },
            explain,
            messages,
        )))
    }
}

/// Under which name QEMU sees a file of the host. Names of layers are digests, so
/// two files never meet.
fn seen(path: &Path) -> PathBuf {
    Path::new(FILES).join(path.file_name().unwrap_or_default())
}

fn mounts(plan: &Plan, vmdk: &Path, instance: &Path) -> Vec<Mount> {
    let bind = |source: &Path, target: String, readonly: bool| Mount {
        target,
        source: MountSource::Bind {
            source: source.display().to_string(),
            recursive: false,
            propagation: "rprivate".to_owned(),
        },
        readonly,
        nosuid: true,
        nodev: true,
        noexec: false,
    };
    let mut mounts: Vec<Mount> = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .map(|path| bind(Path::new(path), path.to_owned(), true))
        .collect();
    let mut file =
        |path: &Path, readonly| mounts.push(bind(path, seen(path).display().to_string(), readonly));
    file(&plan.kernel, true);
    file(&plan.initramfs, true);
    file(vmdk, true);
    file(&plan.disk, false);
    for (number, segment) in plan.layers.iter().enumerate() {
        match segment {
            Segment::File(path, _) => file(path, true),
            Segment::Bytes(_) => file(&instance.join(format!("extent-{number}")), true),
            Segment::Zero(_) => {}
        }
    }
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    mounts.dedup_by(|one, other| one.target == other.target);
    mounts
}

/// Descriptors that QEMU inherits.
#[derive(Debug, Default)]
struct Devices {
    agent: RawFd,
    console: RawFd,
    /// The vhost-user socket of shared folders.
    shares: Option<RawFd>,
    /// Taps, one per network device.
    taps: Vec<RawFd>,
    /// Disks of volumes.
    volumes: Vec<VolumeDisk>,
}

/// The disk of a volume. QEMU opens it for reading first and for writing later, and
/// takes a descriptor that was opened just so each time.
#[derive(Debug)]
struct VolumeDisk {
    /// The file as it was locked.
    file: RawFd,
    /// The same, for reading only, where `file` can be written to.
    reading: Option<RawFd>,
}

impl VolumeDisk {
    fn add(file: File, readonly: bool, descriptors: &mut Descriptors) -> Result<VolumeDisk> {
        let reading = match readonly {
            true => None,
            false => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                Some(descriptors.add(open(Path::new(&path), false)?))
            }
        };
        Ok(VolumeDisk {
            file: descriptors.add(file),
            reading,
        })
    }
}

/// QEMU's command line.
fn arguments(qemu: &Path, plan: &Plan, vmdk: &Path, devices: &Devices) -> Vec<String> {
    let text = |path: PathBuf| path.display().to_string();
    let drive = |id: &str, path: &Path, format: &str, more: &str| {
        format!(
            "id={id},if=none,file={},format={format}{more}",
            text(seen(path)).replace(',', ",,")
        )
    };
    let mut args = vec![text(qemu.to_owned())];
    let mut flag = |name: &str, value: String| args.extend([format!("-{name}"), value]);
    flag("M", "microvm,acpi=on".to_owned());
    // Devices as virtio 1 has them: QEMU's default is what was before.
    flag("global", "virtio-mmio.force-legacy=false".to_owned());
    flag("accel", format!("tcg,thread=multi,tb-size={TRANSLATED}"));
    // QEMU does `rep stosb` byte by byte; kernels that are not told of "fast strings"
    // fill and copy pages by words.
    flag("cpu", "max,-erms".to_owned());
    flag("m", format!("{}k", plan.memory / 1024));
    flag("smp", plan.vcpus.to_string());
    flag("kernel", text(seen(&plan.kernel)));
    flag("initrd", text(seen(&plan.initramfs)));
    flag("append", plan.cmdline.clone());
    flag("display", "none".to_owned());
    flag(
        "chardev",
        format!("socket,id=console,fd={}", devices.console),
    );
    flag("serial", "chardev:console".to_owned());
    flag("drive", drive("layers", vmdk, "vmdk", ",readonly=on"));
    // The guest numbers disks in the order of these lines.
    flag(
        "device",
        "virtio-blk-device,drive=layers,serial=layers".to_owned(),
    );
    flag(
        "drive",
        drive(
            "writable",
            &plan.disk,
            "raw",
            ",cache=writeback,discard=unmap",
        ),
    );
    flag(
        "device",
        "virtio-blk-device,drive=writable,serial=writable".to_owned(),
    );
    for (number, disk) in devices.volumes.iter().enumerate() {
        // QEMU opens what it inherited by the number of a set.
        for fd in std::iter::once(disk.file).chain(disk.reading) {
            flag("add-fd", format!("fd={fd},set={number}"));
        }
        let readonly = if disk.reading.is_none() { "on" } else { "off" };
        flag(
            "drive",
            format!(
                "id=volume{number},if=none,file=/dev/fdset/{number},format=raw,\
                 cache=writeback,discard=unmap,file.locking=off,readonly={readonly}"
            ),
        );
        flag(
            "device",
            format!("virtio-blk-device,drive=volume{number},serial=volume{number}"),
        );
    }
    for (number, (fd, nic)) in devices.taps.iter().zip(&plan.nics).enumerate() {
        flag("netdev", format!("tap,id=net{number},fd={fd},vhost=off"));
        flag(
            "device",
            format!("virtio-net-device,netdev=net{number},mac={}", nic.mac),
        );
    }
    if let Some(fd) = devices.shares {
        // The server of shares sees the guest's memory.
        flag(
            "object",
            format!(
                "memory-backend-memfd,id=memory,share=on,size={}k",
                plan.memory / 1024
            ),
        );
        flag("machine", "memory-backend=memory".to_owned());
        flag("chardev", format!("socket,id=shares,fd={fd}"));
        flag(
            "device",
            // Linux moves 1 MiB at once with a queue of this size only.
            format!("vhost-user-fs-device,chardev=shares,tag={TAG},queue-size=1024"),
        );
    }
    flag("device", "virtio-serial-device".to_owned());
    flag("chardev", format!("socket,id=agent,fd={}", devices.agent));
    flag(
        "device",
        "virtserialport,chardev=agent,name=org.isola.agent".to_owned(),
    );
    flag("device", "virtio-rng-device".to_owned());
    args.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
    args
}

fn explain(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(0) => "the guest switched itself off or was reset".to_owned(),
        ExitStatus::Code(code) => format!("QEMU failed with code {code}"),
        ExitStatus::Signal(signal) => format!("QEMU was ended by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_is_told_everything_by_names_inside_its_jail() {
        let plan = Plan {
            kernel: "/k/vmlinux".into(),
            initramfs: "/k/initramfs".into(),
            cmdline: "console=ttyS0".to_owned(),
            memory: 256 << 20,
            vcpus: 2,
            layers: vec![
                Segment::Bytes(vec![0; 512]),
                Segment::File("/l/abc.erofs".into(), 4096),
            ],
            disk: "/i/disk.ext4".into(),
            volumes: Vec::new(),
            shares: Vec::new(),
            nics: Vec::new(),
            sources: Vec::new(),
            guest: Default::default(),
            patience: super::super::link::Patience {
                boot: BOOT,
                silence: BOOT,
            },
        };
        let line = arguments(
            Path::new("/usr/bin/qemu-system-x86_64"),
            &plan,
            Path::new("/i/layers.vmdk"),
            &Devices {
                agent: 10,
                console: 11,
                shares: Some(12),
                taps: Vec::new(),
                volumes: vec![VolumeDisk {
                    file: 13,
                    reading: None,
                }],
            },
        )
        .join(" ");
        for piece in [
            "-m 262144k -smp 2",
            "-kernel /guest/vmlinux -initrd /guest/initramfs",
            "file=/guest/layers.vmdk,format=vmdk,readonly=on",
            "file=/guest/disk.ext4,format=raw",
            "socket,id=agent,fd=10",
            "socket,id=console,fd=11",
            "socket,id=shares,fd=12",
            "-add-fd fd=13,set=0",
            "file=/dev/fdset/0,format=raw,cache=writeback,discard=unmap,file.locking=off,readonly=on",
        ] {
            assert!(line.contains(piece), "{piece} in {line}");
        }
        let targets: Vec<_> = mounts(&plan, Path::new("/i/layers.vmdk"), Path::new("/i"))
            .into_iter()
            .filter(|mount| mount.target.starts_with(FILES))
            .map(|mount| (mount.target, mount.readonly))
            .collect();
        let expected = [
            "abc.erofs",
            "disk.ext4",
            "extent-0",
            "initramfs",
            "layers.vmdk",
            "vmlinux",
        ];
        assert_eq!(
            targets,
            expected.map(|name| (format!("/guest/{name}"), name != "disk.ext4"))
        );
    }
}

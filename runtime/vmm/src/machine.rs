//! Puts a machine together: memory, interrupt controllers, vCPUs, devices, guest.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, VcpuFd, VmFd};
use virtio_bindings::virtio_mmio::VIRTIO_MMIO_INT_VRING;
use vmm_sys_util::eventfd::EventFd;

use crate::boot::{self, LoadError, Payload};
use crate::config::{ConfigError, VmConfig};
use crate::cpu::vcpu::Vcpu;
use crate::cpu::{cpuid, registers};
use crate::devices::console::{Console, Wakers};
use crate::devices::power::Power;
use crate::devices::{Bus, Registers};
use crate::layout::{self, Slot};
use crate::memory::{self, Memory};
use crate::opened::{Descriptors, open_disk, open_nic, open_vsock};
use crate::outcome::Report;
use crate::stats::Stats;
use crate::virtio::Device;
use crate::virtio::block::Block;
use crate::virtio::mmio::Transport;
use crate::virtio::net::Server;
use crate::virtio::rng::Rng;
use crate::virtio::share::{Share, Talk};
use crate::virtio::vsock::Vsock;

/// Offset of the notification register (virtio 1.2, 4.2.2).
const QUEUE_NOTIFY: u64 = 0x50;

/// Offset of the register that acknowledges interrupts (virtio 1.2, 4.2.2).
const INTERRUPT_ACK: u64 = 0x64;

/// Why a machine can't be made or run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    #[error("configuration: {0}")]
    Syntax(serde_json::Error),
    #[error("descriptor {fd}: {why}")]
    Descriptor { fd: RawFd, why: io::Error },
    #[error("KVM: {what}: {why}")]
    Kvm {
        what: &'static str,
        why: kvm_ioctls::Error,
    },
    #[error("guest memory of {bytes} bytes: {why}")]
    Memory { bytes: u64, why: io::Error },
    #[error("no room in guest memory for the {0}")]
    Layout(&'static str),
    #[error("{0}")]
    Load(#[from] LoadError),
    #[error("{what}: {why}")]
    Device { what: String, why: io::Error },
    #[error("sandbox: {0}")]
    Sandbox(#[from] crate::sandbox::Error),
    #[error("start a thread: {0}")]
    Thread(io::Error),
    #[error("event loop: {0}")]
    Loop(io::Error),
}

/// How the machine ends, told once by whoever learns it first.
#[derive(Debug)]
pub(crate) struct Verdict {
    report: OnceLock<Report>,
    wake: EventFd,
}

impl Verdict {
    pub(crate) fn new() -> io::Result<Verdict> {
        Ok(Verdict {
            report: OnceLock::new(),
            wake: EventFd::new(libc::EFD_NONBLOCK)?,
        })
    }

    /// Ends the machine; only the first report counts.
    pub(crate) fn give(&self, report: Report) {
        if self.report.set(report).is_ok() {
            // Fails only when the counter is full, and then the loop is awake.
            let _ = self.wake.write(1);
        }
    }

    pub(crate) fn get(&self) -> Option<&Report> {
        self.report.get()
    }

    /// Readable once there is a report.
    pub(crate) fn wake(&self) -> &EventFd {
        &self.wake
    }
}

/// A machine that is ready to run.
pub(crate) struct Machine {
    /// Keeps the machine alive in KVM.
    pub(crate) vm: VmFd,
    pub(crate) vcpus: Vec<Vcpu>,
    pub(crate) console: Arc<Console>,
    pub(crate) console_wakers: Wakers,
    pub(crate) power: Arc<Power>,
    pub(crate) disks: Vec<Arc<Transport<Block>>>,
    pub(crate) vsock: Option<Arc<Transport<Vsock>>>,
    pub(crate) rng: Option<Arc<Transport<Rng>>>,
    /// The talk with the server of shared folders.
    pub(crate) shares: Option<Talk>,
    /// What serves the network devices' queue pairs, with a thread's name each.
    pub(crate) nics: Vec<(String, Server)>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) verdict: Arc<Verdict>,
}

/// Builds the machine.
pub(crate) fn build(config: &VmConfig, fds: &Descriptors) -> Result<Machine, Error> {
    let kvm = crate::sys::kvm(fds.get(config.kvm_fd)?);
    let memory = memory::allocate(config.memory_bytes, config.shares.is_some())?;
    let vm = create_vm(&kvm, &memory, config.without_acpi())?;
    let vcpu_fds = create_vcpus(&kvm, &vm, config.vcpus)?;
    let devices = Devices::new(config, fds, &vm, &memory)?;
    let entry = boot::load(
        &memory,
        &Payload {
            kernel: &fds.get(config.kernel_fd)?,
            initrd: config.initrd_fd.map(|fd| fds.get(fd)).transpose()?.as_ref(),
            cmdline: &config.cmdline,
            cmdline_devices: config.without_acpi(),
            memory_bytes: config.memory_bytes,
            vcpus: config.vcpus,
            devices: config.device_count(),
        },
    )?;
    registers::enter(&vcpu_fds[0], &memory, entry)?;

    let stats = Arc::new(Stats::default());
    let verdict = Arc::new(Verdict::new().map_err(device_error("events"))?);
    let bus = Arc::new(devices.bus);
    let vcpus = (0u32..)
        .zip(vcpu_fds)
        .map(|(index, fd)| Vcpu {
            index,
            fd,
            bus: bus.clone(),
            stats: stats.clone(),
            verdict: verdict.clone(),
        })
        .collect();
    Ok(Machine {
        vm,
        vcpus,
        console: bus.console.clone(),
        console_wakers: devices.console_wakers,
        power: bus.power.clone(),
        disks: devices.disks,
        vsock: devices.vsock,
        rng: devices.rng,
        nics: devices.nics,
        shares: devices.shares,
        stats,
        verdict,
    })
}

fn kvm_error(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> Error {
    move |why| Error::Kvm { what, why }
}

pub(crate) fn device_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |why| Error::Device { what, why }
}

/// A machine with memory and interrupt controllers. The memory comes first:
/// changing the slots of a machine that has interrupt controllers takes KVM
/// milliseconds. The interval timer, which costs KVM a thread, is for kernels without
/// ACPI; others know from the tables that there is none.
fn create_vm(kvm: &Kvm, memory: &Memory, legacy: bool) -> Result<VmFd, Error> {
    let vm = kvm.create_vm().map_err(kvm_error("create a machine"))?;
    memory::attach(&vm, memory).map_err(kvm_error("give memory to the machine"))?;
    vm.set_tss_address(layout::KVM_TSS)
        .map_err(kvm_error("set the TSS address"))?;
    vm.create_irq_chip()
        .map_err(kvm_error("create the interrupt controllers"))?;
    if legacy {
        let pit = kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        };
        vm.create_pit2(pit)
            .map_err(kvm_error("create the interval timer"))?;
    }
    Ok(vm)
}

fn create_vcpus(kvm: &Kvm, vm: &VmFd, count: u32) -> Result<Vec<VcpuFd>, Error> {
    let most = kvm.get_max_vcpus();
    if count as usize > most {
        return Err(Error::Device {
            what: format!("{count} vCPUs"),
            why: io::Error::other(format!("KVM allows {most}")),
        });
    }
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(kvm_error("list the CPU's features"))?;
    let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    let mut vcpus = Vec::new();
    for index in 0..count {
        let vcpu = vm
            .create_vcpu(index.into())
            .map_err(kvm_error("create a vCPU"))?;
        let mut features = supported.clone();
        cpuid::adapt(&mut features, index, count, tsc_deadline);
        vcpu.set_cpuid2(&features)
            .map_err(kvm_error("set the features of a vCPU"))?;
        registers::set_msrs(&vcpu);
        registers::set_local_apic(&vcpu)?;
        vcpus.push(vcpu);
    }
    Ok(vcpus)
}

/// All devices, wired.
struct Devices {
    bus: Bus,
    console_wakers: Wakers,
    disks: Vec<Arc<Transport<Block>>>,
    vsock: Option<Arc<Transport<Vsock>>>,
    rng: Option<Arc<Transport<Rng>>>,
    nics: Vec<(String, Server)>,
    shares: Option<Talk>,
}

impl Devices {
    fn new(
        config: &VmConfig,
        fds: &Descriptors,
        vm: &VmFd,
        memory: &Memory,
    ) -> Result<Devices, Error> {
        let wiring = Wiring { vm, memory };
        let (console, console_wakers) =
            Console::new(wiring.line(layout::IRQ_SERIAL)?).map_err(device_error("console"))?;
        let power = Arc::new(Power::new(wiring.line(layout::IRQ_EVENTS)?));
        let mut registers: Vec<Arc<dyn Registers>> = Vec::new();
        let mut disks = Vec::new();
        for disk in &config.disks {
            let slot = Slot::new(registers.len());
            // The disk's thread does nothing but wait for the bell.
            let transport = wiring.connect(open_disk(disk, fds)?, slot, 0)?;
            registers.push(transport.clone());
            disks.push(transport);
        }
        let vsock = match &config.vsock {
            Some(vsock) => {
                let slot = Slot::new(registers.len());
                let transport =
                    wiring.connect(open_vsock(vsock, fds)?, slot, libc::EFD_NONBLOCK)?;
                registers.push(transport.clone());
                Some(transport)
            }
            None => None,
        };
        let rng = if config.entropy {
            let transport = wiring.connect(Rng, Slot::new(registers.len()), libc::EFD_NONBLOCK)?;
            registers.push(transport.clone());
            Some(transport)
        } else {
            None
        };
        let mut nics = Vec::new();
        for (index, nic) in config.nics.iter().enumerate() {
            let slot = Slot::new(registers.len());
            let device = open_nic(index, nic, fds)?;
            let transport = wiring.connect(device, slot, libc::EFD_NONBLOCK)?;
            let servers = Server::all(&transport).map_err(device_error("network device"))?;
            let names = (0..).map(|pair| format!("net-{index}-{pair}"));
            nics.extend(names.zip(servers));
            registers.push(transport);
        }
        let mut shares = None;
        if let Some(share) = &config.shares {
            let device =
                Share::new(share, memory.clone()).map_err(device_error("shared folders"))?;
            let slot = Slot::new(registers.len());
            let transport = wiring.connect(device, slot, libc::EFD_NONBLOCK)?;
            let talk = Talk::greet(&transport, fds.get(share.socket_fd)?);
            shares = Some(talk.map_err(device_error("shared folders"))?);
            registers.push(transport);
        }
        let bus = Bus {
            console: Arc::new(console),
            power,
            virtio: registers,
        };
        Ok(Devices {
            bus,
            console_wakers,
            disks,
            vsock,
            rng,
            nics,
            shares,
        })
    }
}

/// What devices are connected to.
struct Wiring<'a> {
    vm: &'a VmFd,
    memory: &'a Memory,
}

impl Wiring<'_> {
    /// An interrupt line.
    fn line(&self, irq: u32) -> Result<EventFd, Error> {
        let line = EventFd::new(libc::EFD_NONBLOCK).map_err(device_error("interrupt line"))?;
        self.vm
            .register_irqfd(&line, irq)
            .map_err(kvm_error("connect an interrupt line"))?;
        Ok(line)
    }

    /// Puts a device into a slot.
    fn connect<D: Device>(
        &self,
        device: D,
        slot: Slot,
        bell_flags: i32,
    ) -> Result<Arc<Transport<D>>, Error> {
        let name = device.name();
        let transport = Transport::new(
            device,
            self.memory.clone(),
            self.line(slot.irq)?,
            bell_flags,
        )
        .map_err(device_error(name))?;
        let register = IoEventAddress::Mmio(slot.base + QUEUE_NOTIFY);
        for (queue, bell) in (0u32..).zip(transport.bells()) {
            self.vm
                .register_ioevent(bell, &register, queue)
                .map_err(kvm_error("connect a bell"))?;
        }
        // The answer to an ordinary interrupt is taken by KVM and looked at by nobody,
        // which saves an exit each. The cause then stays up: as lines are edge
        // triggered, that makes no further interrupt.
        let acknowledged = IoEventAddress::Mmio(slot.base + INTERRUPT_ACK);
        let sink = EventFd::new(libc::EFD_NONBLOCK).map_err(device_error("interrupt line"))?;
        self.vm
            .register_ioevent(&sink, &acknowledged, VIRTIO_MMIO_INT_VRING)
            .map_err(kvm_error("connect an interrupt's answer"))?;
        Ok(Arc::new(transport))
    }
}

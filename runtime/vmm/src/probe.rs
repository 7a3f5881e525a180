//! Whether KVM on this host can run a guest.
//!
//! That `/dev/kvm` opens says little: under some hypervisors every ioctl works but
//! the guest's kernel code is interpreted by an emulator that does not know all
//! instructions. So a guest of a few instructions runs that every kernel executes
//! early: one of them a breakpoint, one a 16-byte compare-and-exchange.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs};
use kvm_ioctls::{Cap, VcpuExit};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::signal::{Killable, register_signal_handler};

use crate::cpu::{registers, vcpu};
use crate::memory::{self, Memory};

/// The version of the API since 2007.
const API_VERSION: i32 = 12;
/// Longest time that the guest may take. It takes a millisecond.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A real-time signal (added to SIGRTMIN) that gets a thread out of KVM_RUN.
const KICK: i32 = 3;

const CODE: u64 = 0x1_0000;
const HANDLER: u64 = 0x1_1000;
const INTERRUPTS: u64 = 0x5000;
const OPERAND: u64 = 0x4000;
const STACK: u64 = 0x8_0000;
const MEMORY: usize = 2 << 20;
/// The port that the guest reports to.
const PORT: u16 = 0xf1;

/// `lock cmpxchg16b [rdi]; int3; out 0xf1, al; hlt`
const PROGRAM: [u8; 9] = [0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0xcc, 0xe6, PORT as u8, 0xf4];
/// `inc al; iretq`
const INT3_HANDLER: [u8; 4] = [0xfe, 0xc0, 0x48, 0xcf];

/// KVM can run a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// Most vCPUs of one machine.
    pub max_vcpus: usize,
    /// How long the probe took.
    pub took: Duration,
}

/// KVM can't run a guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unusable {
    /// One line.
    pub reason: String,
}

impl Unusable {
    fn new(reason: impl Into<String>) -> Unusable {
        Unusable {
            reason: reason.into(),
        }
    }
}

/// Opens the device, `/dev/kvm` as a rule, and runs the probe.
///
/// # Errors
/// Why KVM can't be used.
pub fn probe_path(path: &Path) -> Result<Usable, Unusable> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| {
            let name = path.display();
            match error.kind() {
                io::ErrorKind::NotFound => {
                    Unusable::new(format!("{name} does not exist: no KVM on this host"))
                }
                io::ErrorKind::PermissionDenied => {
                    Unusable::new(format!("{name}: permission denied"))
                }
                _ => Unusable::new(format!("open {name}: {error}")),
            }
        })?;
    probe_fd(file.into())
}

/// Runs the probe on the opened device.
///
/// # Errors
/// Why KVM can't be used.
pub fn probe(kvm: BorrowedFd<'_>) -> Result<Usable, Unusable> {
    let fd = kvm
        .try_clone_to_owned()
        .map_err(|error| Unusable::new(format!("/dev/kvm: {error}")))?;
    probe_fd(fd)
}

/// The guest runs on a thread of its own, so that a KVM that hangs can't hold the
/// caller. A thread that can't be got out of the kernel is left behind.
fn probe_fd(fd: OwnedFd) -> Result<Usable, Unusable> {
    let started = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let stop_guest = stop.clone();
    let guest = thread::Builder::new()
        .name("kvm-probe".into())
        .spawn(move || drop(sender.send(run_guest(fd, &stop_guest))))
        .map_err(|error| Unusable::new(format!("start the probe: {error}")))?;
    match receiver.recv_timeout(TIMEOUT) {
        Ok(result) => {
            // It has sent its last word.
            drop(guest.join());
            result.map(|max_vcpus| Usable {
                max_vcpus,
                took: started.elapsed(),
            })
        }
        Err(_) => {
            stop.store(true, Ordering::SeqCst);
            kick(&guest, &receiver);
            let reason =
                format!("KVM did not get through a guest of five instructions in {TIMEOUT:?}");
            Err(Unusable::new(reason))
        }
    }
}

/// Gets the thread out of KVM_RUN. A signal that comes just before KVM_RUN is lost,
/// so it is sent a few times.
fn kick<T>(guest: &thread::JoinHandle<()>, receiver: &mpsc::Receiver<T>) {
    extern "C" fn ignore(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    if register_signal_handler(libc::SIGRTMIN() + KICK, ignore).is_err() {
        return;
    }
    for _ in 0..20 {
        let _ = guest.kill(libc::SIGRTMIN() + KICK);
        if receiver.recv_timeout(Duration::from_millis(10)).is_ok() {
            return;
        }
    }
}

fn run_guest(fd: OwnedFd, stop: &AtomicBool) -> Result<usize, Unusable> {
    let failed = |what: &'static str| {
        move |error: kvm_ioctls::Error| Unusable::new(format!("KVM can't {what}: {error}"))
    };
    let kvm = crate::sys::kvm(fd);
    match kvm.get_api_version() {
        API_VERSION => {}
        version if version < 0 => return Err(Unusable::new("the device is not KVM")),
        version => {
            return Err(Unusable::new(format!(
                "KVM's API is of version {version}, not {API_VERSION}"
            )));
        }
    }
    for (capability, name) in [
        (Cap::Irqfd, "irqfd"),
        (Cap::Ioeventfd, "ioeventfd"),
        (Cap::UserMemory, "memory"),
    ] {
        if !kvm.check_extension(capability) {
            return Err(Unusable::new(format!("KVM lacks {name}")));
        }
    }
    let memory = guest_memory()?;
    let vm = kvm.create_vm().map_err(failed("create a machine"))?;
    memory::attach(&vm, &memory).map_err(failed("give memory to a machine"))?;
    let mut cpu = vm.create_vcpu(0).map_err(failed("create a vCPU"))?;
    let features = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(failed("list the CPU's features"))?;
    cpu.set_cpuid2(&features)
        .map_err(failed("set the features of a vCPU"))?;
    let mut sregs = cpu.get_sregs().map_err(failed("read a vCPU"))?;
    registers::long_mode(&mut sregs);
    (sregs.idt.base, sregs.idt.limit) = (INTERRUPTS, 4 * 16 - 1);
    cpu.set_sregs(&sregs).map_err(failed("set a vCPU up"))?;
    let regs = kvm_regs {
        rip: CODE,
        rsp: STACK,
        rflags: 2,
        rbx: 1,
        rcx: 2,
        rdi: OPERAND,
        ..Default::default()
    };
    cpu.set_regs(&regs).map_err(failed("set a vCPU up"))?;
    loop {
        match cpu.run() {
            Ok(VcpuExit::IoOut(PORT, [1])) => break,
            Ok(VcpuExit::InternalError) => {
                let detail = vcpu::internal_error(&mut cpu);
                return Err(Unusable::new(format!(
                    "KVM opens but can't run a guest kernel: {detail}"
                )));
            }
            Ok(exit) => {
                return Err(Unusable::new(format!(
                    "KVM opens but can't run a guest kernel: {exit:?}"
                )));
            }
            Err(error) if error.errno() == libc::EINTR && !stop.load(Ordering::SeqCst) => {}
            Err(error) => return Err(Unusable::new(format!("KVM can't run a guest: {error}"))),
        }
    }
    let stored: [u64; 2] = [
        memory.read_obj(GuestAddress(OPERAND)),
        memory.read_obj(GuestAddress(OPERAND + 8)),
    ]
    .map(Result::unwrap_or_default);
    if stored != [1, 2] {
        return Err(Unusable::new("KVM opens but runs cmpxchg16b wrongly"));
    }
    Ok(kvm.get_max_vcpus())
}

/// Program, tables and stack. Unmapped again with the value.
fn guest_memory() -> Result<Memory, Unusable> {
    let failed = |why: String| Unusable::new(format!("memory for the probe: {why}"));
    let memory = Memory::from_ranges(&[(GuestAddress(0), MEMORY)])
        .map_err(|error| failed(error.to_string()))?;
    registers::page_tables(&memory).map_err(|error| failed(error.to_string()))?;
    registers::gdt(&memory).map_err(|error| failed(error.to_string()))?;
    // An interrupt gate in the code segment of the GDT.
    const GATE: u64 = 0x10 << 16 | 0x8e << 40;
    let gate = HANDLER & 0xffff | GATE | (HANDLER >> 16 & 0xffff) << 48;
    let put = |at: u64, bytes: &[u8]| memory.write_slice(bytes, GuestAddress(at));
    put(INTERRUPTS + 3 * 16, &gate.to_le_bytes())
        .and_then(|()| put(CODE, &PROGRAM))
        .and_then(|()| put(HANDLER, &INT3_HANDLER))
        .map_err(|error| failed(error.to_string()))?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kvm_is_told() {
        let error = probe_path(Path::new("/nonexistent/kvm")).unwrap_err();
        assert!(error.reason.contains("does not exist"), "{error}");
        let error = probe_path(Path::new("/dev/null")).unwrap_err();
        assert!(error.reason.contains("not KVM"), "{error}");
    }

    #[test]
    fn this_host_is_judged_in_time() {
        let started = Instant::now();
        let verdict = probe_path(Path::new("/dev/kvm"));
        eprintln!("this host: {verdict:?}");
        assert!(started.elapsed() < TIMEOUT + Duration::from_secs(1));
        if Path::new("/sys/module/kvm_pvm").exists() {
            let error = verdict.unwrap_err();
            assert!(error.reason.contains("can't run a guest kernel"), "{error}");
        }
    }
}

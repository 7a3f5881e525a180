//! The loop that runs one vCPU on a thread of its own.

use std::sync::Arc;

use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::devices::Bus;
use crate::machine::Verdict;
use crate::outcome::{Outcome, Report};
use crate::stats::Stats;

/// Types of KVM_EXIT_SYSTEM_EVENT (KVM API, 5).
const SYSTEM_EVENT_SHUTDOWN: u32 = 1;
const SYSTEM_EVENT_RESET: u32 = 2;

/// A vCPU and what it needs while it runs.
pub(crate) struct Vcpu {
    pub(crate) index: u32,
    pub(crate) fd: VcpuFd,
    pub(crate) bus: Arc<Bus>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) verdict: Arc<Verdict>,
}

impl Vcpu {
    /// Runs until the machine ends. Never returns, so that the thread needs none of
    /// the system calls with which threads end; the process ends as a whole.
    pub(crate) fn run(mut self) -> ! {
        while self.verdict.get().is_none() {
            if let Some(report) = self.step() {
                self.verdict.give(report);
            }
        }
        loop {
            std::thread::park();
        }
    }

    /// Enters the guest once and handles what made it leave.
    fn step(&mut self) -> Option<Report> {
        let (bus, stats) = (&self.bus, &self.stats);
        let crashed = |why: String| {
            Some(Report::new(
                Outcome::Crashed,
                format!("vCPU {}: {why}", self.index),
            ))
        };
        match self.fd.run() {
            Ok(VcpuExit::IoOut(port, data)) => {
                Stats::count(&stats.port_writes);
                return bus.port_write(port, data);
            }
            Ok(VcpuExit::IoIn(port, data)) => {
                Stats::count(&stats.port_reads);
                bus.port_read(port, data);
                return None;
            }
            Ok(VcpuExit::MmioRead(address, data)) => {
                Stats::count(&stats.mmio_reads);
                bus.memory_read(address, data);
                return None;
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                Stats::count(&stats.mmio_writes);
                bus.memory_write(address, data);
                return None;
            }
            Ok(VcpuExit::Intr | VcpuExit::Hlt) => {}
            Ok(VcpuExit::Shutdown) => return crashed("triple fault".into()),
            Ok(VcpuExit::SystemEvent(SYSTEM_EVENT_SHUTDOWN, _)) => {
                return Some(Report::new(Outcome::PoweredOff, "system event"));
            }
            Ok(VcpuExit::SystemEvent(SYSTEM_EVENT_RESET, _)) => {
                return Some(Report::new(Outcome::Reset, "system event"));
            }
            Ok(VcpuExit::FailEntry(reason, _)) => {
                return crashed(format!(
                    "KVM refused to enter the guest (hardware reason {reason:#x})"
                ));
            }
            Ok(VcpuExit::InternalError) => return crashed(internal_error(&mut self.fd)),
            Ok(exit) => return crashed(format!("unexpected exit {exit:?}")),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
            Err(error) => {
                let detail = format!("vCPU {}: KVM_RUN: {error}", self.index);
                return Some(Report::new(Outcome::Error, detail));
            }
        }
        Stats::count(&stats.other);
        None
    }
}

/// What KVM says about the KVM_EXIT_INTERNAL_ERROR that just happened.
pub(crate) fn internal_error(vcpu: &mut VcpuFd) -> String {
    let ip = vcpu.get_regs().map(|regs| regs.rip).unwrap_or_default();
    let suberror = suberror(vcpu);
    let meaning = match suberror {
        1 => "KVM could not emulate an instruction",
        2 => "a fault while an event was delivered",
        3 => "a fault that can't be handled while an event was delivered",
        _ => "an internal error",
    };
    format!("KVM_EXIT_INTERNAL_ERROR {suberror} ({meaning}) at {ip:#x}")
}

/// Reads `kvm_run.internal.suberror` of the last exit.
#[allow(unsafe_code)]
fn suberror(vcpu: &mut VcpuFd) -> u32 {
    let run = vcpu.get_kvm_run();
    // SAFETY: every member of the union is plain data and lies inside the run
    // area, so reading this one is sound whatever the last exit was.
    unsafe { run.__bindgen_anon_1.internal.suberror }
}

//! The program: reads its configuration, builds the machine, shuts itself in,
//! starts the threads, and becomes the event loop.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::sync::{Arc, Barrier};
use std::thread;

use crate::config::VmConfig;
use crate::event_loop::EventLoop;
use crate::machine::{self, Error, Machine, Verdict};
use crate::opened::Descriptors;
use crate::outcome::{Event, Outcome, Report};
use crate::sandbox::{self, ThreadKind};
use crate::sys;

/// Longest configuration in bytes.
const MAX_CONFIG: u64 = 64 << 20;

/// Runs the machine that the JSON text behind the descriptor describes, until it
/// ends. Closes every descriptor that the configuration does not name, but for the
/// standard ones. The caller ends the process right after it: the machine's threads
/// are still there, waiting.
pub fn run(config_fd: RawFd) -> Report {
    match try_run(config_fd) {
        Ok(report) => report,
        Err(error) => Report::new(Outcome::Error, error.to_string()),
    }
}

/// Ends the process at once: no destructors, no waiting for threads, none of the
/// system calls that an orderly end makes and the filters forbid.
pub fn exit(outcome: Outcome) -> ! {
    sys::exit(outcome.code())
}

fn try_run(config_fd: RawFd) -> Result<Report, Error> {
    let config = read_config(config_fd)?;
    let mut keep: Vec<RawFd> = vec![0, 1, 2];
    keep.extend(config.descriptors());
    keep.sort_unstable();
    sys::close_others(&keep).map_err(|why| Error::Device {
        what: "close descriptors".into(),
        why,
    })?;
    let fds = Descriptors::take(&config)?;
    let mut status = config
        .status_fd
        .map(|fd| fds.get(fd))
        .transpose()?
        .map(File::from);
    let report = match start(&config, fds, &mut status) {
        Ok(events) => events.run(),
        Err(error) => Report::new(Outcome::Error, error.to_string()),
    };
    tell(&mut status, &Event::Ended(report.clone()));
    Ok(report)
}

fn read_config(fd: RawFd) -> Result<VmConfig, Error> {
    let failed = |why| Error::Descriptor { fd, why };
    let file = File::from(sys::take_fd(fd).map_err(failed)?);
    let mut text = Vec::new();
    file.take(MAX_CONFIG)
        .read_to_end(&mut text)
        .map_err(failed)?;
    let config: VmConfig = serde_json::from_slice(&text).map_err(Error::Syntax)?;
    config.validate()?;
    Ok(config)
}

/// Builds the machine and sets it going.
fn start(
    config: &VmConfig,
    fds: Descriptors,
    status: &mut Option<File>,
) -> Result<EventLoop, Error> {
    sandbox::enter()?;
    let mut machine = machine::build(config, &fds)?;
    let verdict = machine.verdict.clone();
    let threads = machine.vcpus.len() + machine.disks.len() + machine.nics.len();
    let threads = threads + usize::from(machine.shares.is_some());
    let barrier = Arc::new(Barrier::new(threads + 1));
    start_threads(&mut machine, &barrier)?;
    let events = EventLoop::new(config, &fds, machine)?;
    drop(fds);
    sandbox::filter(ThreadKind::Events)?;
    barrier.wait();
    if verdict
        .get()
        .is_none_or(|report| report.outcome != Outcome::Error)
    {
        tell(status, &Event::Running);
    }
    Ok(events)
}

/// Starts a thread per disk, per queue pair of a network device and per vCPU. None of them does anything before all of
/// them, and the event loop, have their filters.
fn start_threads(machine: &mut Machine, barrier: &Arc<Barrier>) -> Result<(), Error> {
    for (index, disk) in machine.disks.iter().enumerate() {
        let disk = disk.clone();
        spawn(
            format!("disk-{index}"),
            ThreadKind::Disk,
            barrier,
            &machine.verdict,
            move || {
                loop {
                    // A bell can't fail to be read; if it does, the disk falls silent.
                    if disk.bells()[0].read().is_err() {
                        thread::park();
                    }
                    disk.ring(0);
                }
            },
        )?;
    }
    for (name, server) in std::mem::take(&mut machine.nics) {
        let verdict = &machine.verdict;
        spawn(name, ThreadKind::Net, barrier, verdict, move || {
            server.run();
        })?;
    }
    if let Some(talk) = machine.shares.take() {
        let (name, told) = ("shares".to_owned(), machine.verdict.clone());
        let verdict = &machine.verdict;
        spawn(name, ThreadKind::Shares, barrier, verdict, move || {
            talk.run(&told);
        })?;
    }
    for vcpu in std::mem::take(&mut machine.vcpus) {
        let name = format!("vcpu-{}", vcpu.index);
        spawn(
            name,
            ThreadKind::Vcpu,
            barrier,
            &machine.verdict,
            move || vcpu.run(),
        )?;
    }
    Ok(())
}

fn spawn(
    name: String,
    kind: ThreadKind,
    barrier: &Arc<Barrier>,
    verdict: &Arc<Verdict>,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let (barrier, verdict) = (barrier.clone(), verdict.clone());
    let start = move || {
        let filtered = sandbox::filter(kind);
        if let Err(error) = &filtered {
            verdict.give(Report::new(Outcome::Error, format!("sandbox: {error}")));
        }
        barrier.wait();
        if filtered.is_ok() {
            body();
        }
        loop {
            thread::park();
        }
    };
    thread::Builder::new()
        .name(name)
        .stack_size(256 * 1024)
        .spawn(start)
        .map_err(Error::Thread)?;
    Ok(())
}

/// Writes a line about the machine. A parent that does not listen is no reason to
/// stop.
fn tell(status: &mut Option<File>, event: &Event) {
    if let (Some(status), Ok(mut line)) = (status, serde_json::to_vec(event)) {
        line.push(b'\n');
        if let Err(error) = status.write_all(&line)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            eprintln!("isola-vmm: status pipe: {error}");
        }
    }
}

//! Everything that is not a disk or a vCPU, on the main thread: console, sockets,
//! random numbers, control, and the end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvm_ioctls::VmFd;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use vmm_sys_util::eventfd::EventFd;

use crate::config::VmConfig;
use crate::control::{Control, Received};
use crate::devices::console::{Console, Wakers};
use crate::devices::power::Power;
use crate::machine::{Error, Machine, Verdict};
use crate::opened::Descriptors;
use crate::outcome::{Answer, Command, Outcome, Report};
use crate::stats::Stats;
use crate::virtio::mmio::Transport;
use crate::virtio::rng::Rng;
use crate::virtio::vsock::Vsock;

/// How long output may wait for more, so that a line of it costs one write.
const LINGER: Duration = Duration::from_millis(5);
/// How long the last output may take.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// Bytes read from the console's input at once.
const INPUT: usize = 64;

/// What woke the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Token {
    Verdict,
    ConsoleFilled,
    ConsoleDrained,
    ConsoleInput,
    ConsoleOutput,
    Control,
    Rng,
    SocketsHost,
    /// The first of the socket device's queues; the others follow.
    SocketsQueue,
}

/// The loop with all that it serves.
pub(crate) struct EventLoop {
    epoll: OwnedFd,
    vcpus: u32,
    console: Arc<Console>,
    wakers: Wakers,
    output: OwnedFd,
    /// When waiting output is written.
    flush_at: Option<Instant>,
    input: Option<OwnedFd>,
    control: Option<Control>,
    power: Arc<Power>,
    rng: Option<Arc<Transport<Rng>>>,
    vsock: Option<Arc<Transport<Vsock>>>,
    stats: Arc<Stats>,
    verdict: Arc<Verdict>,
    /// Keeps the machine.
    _vm: VmFd,
}

impl EventLoop {
    /// Registers everything.
    pub(crate) fn new(
        config: &VmConfig,
        fds: &Descriptors,
        machine: Machine,
    ) -> Result<EventLoop, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(loop_error)?;
        let output = fds.get(config.console.output_fd)?;
        rustix::io::ioctl_fionbio(&output, true).map_err(loop_error)?;
        let input = config.console.input_fd.map(|fd| fds.get(fd)).transpose()?;
        let control = config
            .control_fd
            .map(|fd| fds.get(fd))
            .transpose()?
            .map(Control::new);
        let mut events = EventLoop {
            epoll,
            vcpus: config.vcpus,
            console: machine.console,
            wakers: machine.console_wakers,
            output,
            flush_at: None,
            input,
            control,
            power: machine.power,
            rng: machine.rng,
            vsock: machine.vsock,
            stats: machine.stats,
            verdict: machine.verdict,
            _vm: machine.vm,
        };
        events.register().map_err(loop_error)?;
        Ok(events)
    }

    fn register(&mut self) -> Result<(), Errno> {
        self.watch(self.verdict.wake(), Token::Verdict as u64)?;
        self.watch(&self.wakers.filled, Token::ConsoleFilled as u64)?;
        self.watch(&self.wakers.drained, Token::ConsoleDrained as u64)?;
        // Files and /dev/null can't be watched: output to them never waits, and
        // there is no input to wait for.
        let data = EventData::new_u64(Token::ConsoleOutput as u64);
        watchable(epoll::add(
            &self.epoll,
            &self.output,
            data,
            EventFlags::ONESHOT,
        ))?;
        if let Some(input) = &self.input
            && !watchable(self.add(input.as_fd(), Token::ConsoleInput as u64))?
        {
            self.input = None;
        }
        if let Some(control) = &self.control {
            self.add(control.socket().as_fd(), Token::Control as u64)?;
        }
        if let Some(rng) = &self.rng {
            self.watch(&rng.bells()[0], Token::Rng as u64)?;
        }
        if let Some(vsock) = &self.vsock {
            vsock.device(|device| self.add(device.epoll().as_fd(), Token::SocketsHost as u64))?;
            for (token, bell) in (Token::SocketsQueue as u64..).zip(vsock.bells()) {
                self.watch(bell, token)?;
            }
        }
        Ok(())
    }

    fn watch(&self, event: &EventFd, token: u64) -> Result<(), Errno> {
        self.add(crate::sys::borrow(event), token)
    }

    fn add(&self, fd: std::os::fd::BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)
    }

    /// Serves until the machine has ended.
    pub(crate) fn run(mut self) -> Report {
        loop {
            if let Some(report) = self.verdict.get().cloned() {
                self.last_flush();
                return report;
            }
            if let Err(error) = self.turn() {
                self.verdict
                    .give(Report::new(Outcome::Error, format!("event loop: {error}")));
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(16);
        let timeout = self
            .flush_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: time.subsec_nanos().into(),
        });
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            self.event(event.data.u64())?;
        }
        if self.flush_at.is_some_and(|at| at <= Instant::now()) {
            self.flush()?;
        }
        Ok(())
    }

    fn event(&mut self, token: u64) -> io::Result<()> {
        const VERDICT: u64 = Token::Verdict as u64;
        const FILLED: u64 = Token::ConsoleFilled as u64;
        const DRAINED: u64 = Token::ConsoleDrained as u64;
        const INPUT: u64 = Token::ConsoleInput as u64;
        const OUTPUT: u64 = Token::ConsoleOutput as u64;
        const CONTROL: u64 = Token::Control as u64;
        const RNG: u64 = Token::Rng as u64;
        const HOST: u64 = Token::SocketsHost as u64;
        match token {
            VERDICT => {}
            FILLED => {
                silence(&self.wakers.filled);
                self.flush_at.get_or_insert(Instant::now() + LINGER);
            }
            DRAINED => {
                silence(&self.wakers.drained);
                self.listen_to_input(true)?;
            }
            INPUT => self.read_input()?,
            OUTPUT => self.flush()?,
            CONTROL => self.control(),
            RNG => {
                if let Some(rng) = &self.rng {
                    silence(&rng.bells()[0]);
                    rng.ring(0);
                }
            }
            HOST => self.host_sockets()?,
            queue => {
                let queue = (queue - Token::SocketsQueue as u64) as usize;
                if let Some(vsock) = &self.vsock {
                    silence(&vsock.bells()[queue]);
                    vsock.ring(queue);
                }
            }
        }
        Ok(())
    }

    /// Writes output as far as the other side takes it.
    fn flush(&mut self) -> io::Result<()> {
        self.flush_at = None;
        let output = &self.output;
        match self.console.flush(|bytes| write(output, bytes)) {
            Ok(true) => {
                self.flush_at = Some(Instant::now());
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let data = EventData::new_u64(Token::ConsoleOutput as u64);
                let flags = EventFlags::OUT | EventFlags::ONESHOT;
                epoll::modify(&self.epoll, &self.output, data, flags)?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what is left when the machine has ended, but does not wait for long.
    fn last_flush(&mut self) {
        let end = Instant::now() + LAST_OUTPUT;
        let output = &self.output;
        while Instant::now() < end {
            match self.console.flush(|bytes| write(output, bytes)) {
                Ok(false) => return,
                Ok(true) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn listen_to_input(&mut self, listen: bool) -> io::Result<()> {
        if let Some(input) = &self.input {
            let flags = if listen {
                EventFlags::IN
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(Token::ConsoleInput as u64);
            epoll::modify(&self.epoll, input, data, flags)?;
        }
        Ok(())
    }

    fn read_input(&mut self) -> io::Result<()> {
        let Some(input) = &self.input else {
            return Ok(());
        };
        let room = self.console.input_room().min(INPUT);
        if room == 0 {
            return self.listen_to_input(false);
        }
        let mut bytes = [0; INPUT];
        match rustix::io::read(input, &mut bytes[..room]) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(count) if count > 0 => self.console.input(&bytes[..count]),
            // The end, or a terminal that hung up.
            _ => {
                epoll::delete(&self.epoll, input)?;
                self.input = None;
            }
        }
        Ok(())
    }

    fn host_sockets(&self) -> io::Result<()> {
        let Some(vsock) = &self.vsock else {
            return Ok(());
        };
        vsock.device(Vsock::host_events)?;
        if vsock.with(Vsock::deliver) {
            vsock.bells()[0].write(1)?;
        }
        Ok(())
    }

    fn control(&mut self) {
        let Some(control) = &mut self.control else {
            return;
        };
        let commands = match control.receive() {
            Received::Lines(commands) => commands,
            Received::End => {
                self.verdict.give(Report::new(
                    Outcome::Stopped,
                    "the control socket was closed",
                ));
                return;
            }
        };
        for command in commands {
            let answer = self.carry_out(command);
            let sent = self.control.as_ref().map(|control| control.answer(&answer));
            if let Some(Err(error)) = sent {
                eprintln!("isola-vmm: control socket: {error}");
            }
        }
    }

    fn carry_out(&self, command: Option<Command>) -> Answer {
        match command {
            Some(Command::PowerOff) => match self.power.press_button() {
                Ok(()) => Answer::Ok,
                Err(error) => Answer::Error {
                    message: format!("press the power button: {error}"),
                },
            },
            Some(Command::Stop) => {
                self.verdict
                    .give(Report::new(Outcome::Stopped, "stop was asked for"));
                Answer::Ok
            }
            Some(Command::State) => Answer::State {
                state: "running".into(),
                vcpus: self.vcpus,
            },
            Some(Command::Stats) => Answer::Stats(self.stats.snapshot()),
            None => Answer::Error {
                message: "no such command (power-off, stop, state, stats)".into(),
            },
        }
    }
}

fn loop_error(error: Errno) -> Error {
    Error::Loop(error.into())
}

/// Whether a descriptor can be watched, from the result of trying.
fn watchable(result: Result<(), Errno>) -> Result<bool, Errno> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes an event's count, so that it is not told again.
fn silence(event: &EventFd) {
    // It fails when there is no count, and then nothing is told either.
    let _ = event.read();
}

/// Writes to the console's output; `Ok(0)` says to drop everything, because nobody
/// reads any more.
fn write(output: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::io::retry_on_intr(|| rustix::io::write(output, bytes)) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
        Err(_) => Ok(0),
    }
}

//! An attached process: the user's streams, terminal and signals on this side,
//! a channel of the supervisor's connection on the other. One poll loop.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use isola_init::stream::{Peer, PollSet};
use isola_proto::frame::WINDOW;
use isola_proto::{Event, ExitStatus, Frame, Kind};
use isola_runtime::control::{Command, Control, decode};
use nix::sys::signal::Signal;

use crate::error::{Code, Exit, Failure, Result};
use crate::streams::{Keys, Output, Signals};
use crate::terminal::{self, RawMode};

/// Bytes read from standard input at once.
const READ: usize = 16 * 1024;
/// So many signals that ask to end, and the workload is left alone.
const PATIENCE: u32 = 3;

/// What is attached, and how.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The process's channel.
    pub(crate) channel: u32,
    /// It has a terminal.
    pub(crate) tty: bool,
    /// Pass standard input on.
    pub(crate) stdin: bool,
    /// Show its standard output.
    pub(crate) stdout: bool,
    /// Show its standard error.
    pub(crate) stderr: bool,
    /// Pass signals on to it.
    pub(crate) sig_proxy: bool,
    /// Keys that leave it.
    pub(crate) detach_keys: Keys,
    /// A name for messages.
    pub(crate) name: String,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process ended.
    Exited(ExitStatus),
    /// The user left; the process goes on.
    Detached,
    /// A signal ended this command, not the process.
    Signal(i32),
}

impl End {
    /// The code for this command to end with.
    pub(crate) fn exit(self) -> Exit {
        match self {
            End::Exited(status) => Exit::of(status.code()),
            End::Detached => Exit::OK,
            End::Signal(signal) => Exit::of(128 + signal),
        }
    }
}

impl Session {
    /// Runs until the process ends or the user leaves.
    pub(crate) fn run(&self, control: &mut Control) -> Result<End> {
        let signals = Signals::catch(self.sig_proxy, self.tty)?;
        let raw = (self.tty && self.stdin && terminal::is_input())
            .then(RawMode::enter)
            .transpose()?;
        let mut state = Running {
            session: self,
            input: self.stdin,
            credit: WINDOW,
            keys: self.detach_keys.clone(),
            outputs: [
                Output::new(io::stdout(), self.stdout),
                Output::new(io::stderr(), self.stderr),
            ],
            asked: 0,
            end: None,
        };
        let end = state.turn_until_end(control, &signals);
        drop(raw);
        if matches!(end, Ok(End::Detached | End::Signal(_))) {
            control.send(&Command::Detach {
                channel: self.channel,
            });
            control.flush(std::time::Duration::from_secs(1));
        }
        end
    }
}

struct Running<'a> {
    session: &'a Session,
    /// Standard input is still read.
    input: bool,
    /// Bytes that may be sent.
    credit: u32,
    keys: Keys,
    outputs: [Output; 2],
    /// Signals that asked to end.
    asked: u32,
    end: Option<End>,
}

impl Running<'_> {
    fn turn_until_end(&mut self, control: &mut Control, signals: &Signals) -> Result<End> {
        let stdin = io::stdin();
        let mut set = PollSet::default();
        loop {
            while let Some(frame) = control.conn().next_frame() {
                self.take(&frame)?;
            }
            match self.end {
                Some(End::Exited(_)) if self.outputs.iter().any(Output::pending) => {}
                Some(end) => return Ok(end),
                None if control.conn().closed().is_some() => return Err(gone(&self.session.name)),
                None => {}
            }
            let read = self.input && self.credit > 0 && self.end.is_none();
            set.clear();
            control.conn().register(&mut set);
            set.add(signals.as_fd(), true, false);
            if read {
                set.add(stdin.as_fd(), true, false);
            }
            for output in self.outputs.iter().filter(|output| output.pending()) {
                set.add(output.as_fd(), false, true);
            }
            set.wait(None)
                .and_then(|()| control.conn().dispatch(&set))
                .map_err(|error| Failure::system("talk to the supervisor", error))?;
            while let Some(signal) = signals.next() {
                self.signal(signal, control);
            }
            if read && set.readable(stdin.as_fd()) {
                self.pump(stdin.as_fd(), control)?;
            }
            self.write(&set, control)?;
        }
    }

    /// A frame from the supervisor.
    fn take(&mut self, frame: &Frame) -> Result<()> {
        let channel = self.session.channel;
        match frame.kind {
            Kind::Stdout if frame.channel == channel => self.outputs[0].push(&frame.payload),
            Kind::Stderr if frame.channel == channel => self.outputs[1].push(&frame.payload),
            Kind::CreditInput if frame.channel == channel => {
                self.credit = self.credit.saturating_add(frame.credited());
            }
            Kind::Event => match frame.parse::<Event>() {
                Ok(Event::Exited {
                    channel: of,
                    status,
                    ..
                }) if of == channel => {
                    self.end = Some(End::Exited(status));
                }
                Ok(Event::Failed {
                    channel: of,
                    failure,
                    ..
                }) if of == channel => {
                    return Err(decode(failure).into());
                }
                Ok(_) => {}
                Err(error) => return Err(Failure::internal(format!("the supervisor: {error}"))),
            },
            _ => {}
        }
        Ok(())
    }

    /// Some of standard input, as far as the receiver has room.
    fn pump(&mut self, stdin: BorrowedFd<'_>, control: &mut Control) -> Result<()> {
        let channel = self.session.channel;
        let mut buffer = [0; READ];
        let room = READ.min(self.credit as usize);
        let count = match rustix::io::read(stdin, &mut buffer[..room]) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(()),
            // A terminal that hung up.
            Err(rustix::io::Errno::IO) => 0,
            Err(error) => return Err(Failure::system("read standard input", error)),
        };
        if count == 0 {
            self.input = false;
            control
                .conn()
                .send(Frame::data(Kind::Stdin, channel, Vec::new()));
            return Ok(());
        }
        let mut bytes = buffer[..count].to_vec();
        if self.session.tty {
            let left = self.keys.pass(&mut bytes);
            if left {
                self.end = Some(End::Detached);
            }
        }
        if !bytes.is_empty() {
            // Keys held back by the last read may come on top of `room`.
            self.credit = self
                .credit
                .saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            control
                .conn()
                .send(Frame::data(Kind::Stdin, channel, bytes));
        }
        Ok(())
    }

    /// What can be written now; what was written is granted anew.
    fn write(&mut self, set: &PollSet, control: &mut Control) -> Result<()> {
        for output in &mut self.outputs {
            if !output.pending() || !set.writable(output.as_fd()) {
                continue;
            }
            let count = output.write().inspect_err(|_| {
                control.send(&Command::Detach {
                    channel: self.session.channel,
                });
                control.flush(std::time::Duration::from_secs(1));
            })?;
            let granted = Frame::credit(Kind::CreditOutput, self.session.channel, count);
            control.conn().send(granted);
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal, control: &mut Control) {
        let channel = self.session.channel;
        if signal == Signal::SIGWINCH {
            if let Some(size) = terminal::size() {
                control.send(&Command::Resize { channel, size });
            }
            return;
        }
        if !self.session.sig_proxy || self.session.tty {
            self.end = Some(End::Signal(signal as i32));
            return;
        }
        control.send(&Command::Signal {
            channel,
            signal: signal as i32,
        });
        if matches!(signal, Signal::SIGINT | Signal::SIGTERM) {
            self.asked += 1;
            if self.asked == PATIENCE {
                let name = &self.session.name;
                let _ = writeln!(
                    io::stderr(),
                    "the workload did not end on {PATIENCE} signals; left running\n\
                     hint: `isola kill {name}` ends it; with --init it would have an init \
                     whose default for signals is to end"
                );
                self.end = Some(End::Signal(signal as i32));
            }
        }
    }
}

fn gone(name: &str) -> Failure {
    Failure::new(
        Code::System,
        format!("the supervisor of {name} has gone away"),
    )
    .hint("`isola ps -a` shows what became of the instance")
}

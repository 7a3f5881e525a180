//! The process server: starts processes, carries their streams, tells their
//! ends. A container's supervisor holds one in itself; the agent puts one behind
//! a [`crate::stream::Conn`].
//!
//! # What the asking side can rely on
//! - `Start` and `Exec` are answered on their channel by exactly one `Started`
//!   or `Failed`. After `Started`, exactly one `Exited` comes, also for a
//!   channel that was detached; its number is then free again.
//! - Order: `Started`, output, one empty frame for every stream (for a terminal
//!   only on stdout), `Exited`.
//! - Output that was written before the process ended comes before `Exited`.
//!   What its descendants write to the same pipes later is read and dropped, so
//!   that they are neither blocked nor ended by SIGPIPE.
//! - Output is read only while the asking side has credit left: a process that
//!   floods blocks on its pipe. Input is credited when the process took it.
//! - `Failed` after `Started` on a channel means that its input broke the rules
//!   (more than the credit allowed): the channel counts as detached from then.
//! - Frames for channels that are not there are dropped, since their process may
//!   just have ended.
//!
//! ```text
//!            Start/Exec            pidfd readable         outputs emptied
//! (nothing) ───────────▶ running ────────────────▶ ended ────────────────▶ (gone)
//!                │ Failed                                      EOF, Exited
//!                ▼
//!            (nothing)
//! ```

mod channel;
mod outbox;
mod processes;
mod pump;
mod signal;
mod spawner;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use isola_proto::{ErrorKind, Event, Failure, Frame, Kind, ProcessSpec, Request, SandboxSpec};

use crate::stream::{Peer, PollSet};
use channel::Channel;
use outbox::Outbox;

pub use processes::{Filter, list_processes, pid_namespace};
pub use spawner::{Child, Spawner, Stdio, Streams};

/// Size of the one buffer that all reads share, in bytes: a pipe's usual
/// capacity.
const BUFFER: usize = 64 * 1024;

/// What became of the sandbox's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Main {
    NotStarted,
    Running(u32),
    Ended,
}

/// Runs the processes of one sandbox. See the module's documentation.
pub struct Server<S> {
    spawner: S,
    main: Main,
    channels: Vec<Channel>,
    /// Pipes of processes that ended, held by their descendants.
    late: Vec<Arc<OwnedFd>>,
    outbox: Outbox,
    buffer: Box<[u8]>,
    /// Where the next round over the channels begins, so that none starves.
    turn: usize,
    /// The other side speaks another version.
    refused: bool,
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Invalid, message)
}

impl<S: Spawner> Server<S> {
    /// A server without processes.
    pub fn new(spawner: S) -> Server<S> {
        Server {
            spawner,
            main: Main::NotStarted,
            channels: Vec::new(),
            late: Vec::new(),
            outbox: Outbox::default(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            turn: 0,
            refused: false,
        }
    }

    /// Whoever makes the processes.
    pub fn spawner(&mut self) -> &mut S {
        &mut self.spawner
    }

    /// The server waits for this process itself.
    pub fn owns(&self, pid: i32) -> bool {
        self.channels.iter().any(|channel| channel.pid == pid)
    }

    /// No process of its own is running or waits to be reported.
    pub fn is_idle(&self) -> bool {
        self.channels.is_empty()
    }

    /// The first process was started, has ended, and its exit was told or is
    /// about to be.
    pub fn has_ended(&self) -> bool {
        self.main == Main::Ended
    }

    /// Carries out one request. [`Peer::send`] calls it for request frames; an
    /// agent that looks at requests first can call it with those it leaves over.
    pub fn request(&mut self, request: Request) {
        if self.refused && !matches!(request, Request::Hello { .. }) {
            return self.refuse(&request);
        }
        match request {
            Request::Hello { version } => self.hello(version),
            Request::Start { channel, spec } => self.start(channel, &spec),
            Request::Exec { channel, process } => self.exec(channel, &process),
            Request::Signal { channel, signal } => {
                if let Some(channel) = self.channel(channel) {
                    signal::send(channel.pidfd(), signal);
                }
            }
            Request::Resize { channel, size } => {
                if let Some(channel) = self.channel(channel) {
                    channel.resize(size);
                }
            }
            Request::Detach { channel } => {
                if let Some(channel) = self.channel(channel) {
                    channel.detach();
                }
            }
            Request::Processes { id } => match self.spawner.processes() {
                Ok(processes) => self.outbox.event(&Event::Processes { id, processes }),
                Err(failure) => self.outbox.request_failed(id, failure),
            },
            Request::Usage { id } => match self.spawner.usage() {
                Ok(usage) => self.outbox.event(&Event::Usage { id, usage }),
                Err(failure) => self.outbox.request_failed(id, failure),
            },
            Request::Interfaces {
                id,
                interfaces,
                files,
            } => {
                let made = self.spawner.interfaces(&interfaces);
                match made.and_then(|()| self.spawner.rewrite(&files)) {
                    Ok(()) => self.outbox.event(&Event::Done { id }),
                    Err(failure) => self.outbox.request_failed(id, failure),
                }
            }
            Request::Boot { id, .. } => {
                let failure = invalid("can't boot: this is no guest, or it is up already");
                self.outbox.request_failed(id, failure);
            }
            Request::Shutdown => {
                let failure = invalid("can't shut down: this is no guest");
                self.outbox.request_failed(0, failure);
            }
        }
    }

    /// The other side speaks another version of the protocol: all of its
    /// requests fail.
    pub fn refuses(&self) -> bool {
        self.refused
    }

    fn refuse(&mut self, request: &Request) {
        let (channel, id) = match request {
            Request::Start { channel, .. } | Request::Exec { channel, .. } => (*channel, 0),
            Request::Boot { id, .. }
            | Request::Processes { id }
            | Request::Usage { id }
            | Request::Interfaces { id, .. } => (0, *id),
            _ => return,
        };
        self.outbox.event(&Event::Failed {
            channel,
            id,
            failure: version_failure(),
        });
    }

    fn hello(&mut self, version: u32) {
        self.refused = version != isola_proto::VERSION;
        self.outbox.event(&hello());
        if self.refused {
            self.outbox.request_failed(0, version_failure());
        }
    }

    fn channel(&mut self, number: u32) -> Option<&mut Channel> {
        self.channels
            .iter_mut()
            .find(|channel| channel.number == number)
    }

    fn start(&mut self, channel: u32, spec: &SandboxSpec) {
        if self.main != Main::NotStarted {
            let failure = invalid("the sandbox was started before");
            return self.outbox.channel_failed(channel, failure);
        }
        let result = self.spawn(channel, &spec.process, |spawner, streams| {
            spawner.start(spec, streams)
        });
        match result {
            Ok(()) => self.main = Main::Running(channel),
            Err(failure) => self.outbox.channel_failed(channel, failure),
        }
    }

    fn exec(&mut self, channel: u32, process: &ProcessSpec) {
        let result = match self.main {
            Main::NotStarted => Err(invalid("the sandbox was not started")),
            Main::Ended => Err(invalid("the sandbox has ended")),
            Main::Running(_) => self.spawn(channel, process, |spawner, streams| {
                spawner.exec(process, streams)
            }),
        };
        if let Err(failure) = result {
            self.outbox.channel_failed(channel, failure);
        }
    }

    fn spawn(
        &mut self,
        number: u32,
        process: &ProcessSpec,
        make: impl FnOnce(&mut S, Streams) -> Result<Child, Failure>,
    ) -> Result<(), Failure> {
        if number == 0 {
            return Err(invalid("channel 0 is for control messages"));
        }
        if self.channel(number).is_some() {
            return Err(invalid(format!("channel {number} is in use")));
        }
        let (streams, prepared) = spawner::prepare(process)?;
        let mut child = make(&mut self.spawner, streams)?;
        let ends = match prepared.ends(&mut child) {
            Ok(ends) => ends,
            Err(failure) => {
                signal::kill_and_reap(&child.pidfd);
                return Err(failure);
            }
        };
        self.outbox.event(&Event::Started {
            channel: number,
            pid: child.pid.as_raw_nonzero().get(),
        });
        self.channels.push(Channel::new(number, child, ends));
        Ok(())
    }

    fn feed(&mut self, number: u32, bytes: &[u8]) {
        let Some(at) = self.channels.iter().position(|c| c.number == number) else {
            return;
        };
        let channel = &mut self.channels[at];
        if channel.feed(bytes).is_err() {
            channel.detach();
            let failure = invalid(format!(
                "more input came on channel {number} than was allowed"
            ));
            return self.outbox.channel_failed(number, failure);
        }
        // Input that goes nowhere is taken at once.
        channel.credit_input(&mut self.outbox);
    }

    fn finish_channels(&mut self) {
        let mut at = 0;
        while at < self.channels.len() {
            if !self.channels[at].is_over() {
                at += 1;
                continue;
            }
            let channel = self.channels.remove(at);
            if self.main == Main::Running(channel.number) {
                self.main = Main::Ended;
            }
            let oom_killed = self.spawner.oom_killed();
            self.late
                .extend(channel.finish(oom_killed, &mut self.outbox));
        }
    }

    fn drain_late(&mut self, set: &PollSet) {
        let buffer = &mut self.buffer;
        self.late.retain(|pipe| {
            if !set.readable(pipe.as_fd()) {
                return true;
            }
            let got = rustix::io::read(pipe, &mut buffer[..]);
            use rustix::io::Errno;
            matches!(got, Ok(1..) | Err(Errno::AGAIN | Errno::INTR))
        });
    }
}

impl<S: Spawner> Peer for Server<S> {
    fn send(&mut self, frame: Frame) {
        match frame.kind {
            Kind::Request => match frame.parse() {
                Ok(request) => self.request(request),
                Err(error) => self.outbox.request_failed(0, invalid(error.to_string())),
            },
            Kind::Stdin => self.feed(frame.channel, &frame.payload),
            Kind::CreditOutput => {
                let count = frame.credited();
                if let Some(channel) = self.channel(frame.channel) {
                    channel.grant(count);
                }
            }
            Kind::Event | Kind::Stdout | Kind::Stderr | Kind::CreditInput => {
                let failure = invalid("that kind of frame goes the other way");
                self.outbox.request_failed(0, failure);
            }
        }
    }

    fn register(&self, set: &mut PollSet) {
        for channel in &self.channels {
            channel.register(set, &self.outbox);
        }
        for pipe in &self.late {
            set.add(pipe.as_fd(), true, false);
        }
    }

    fn dispatch(&mut self, set: &PollSet) -> io::Result<()> {
        self.drain_late(set);
        for channel in &mut self.channels {
            channel.flush_input(set, &mut self.outbox);
            channel.reap(set);
        }
        self.turn = self.turn.wrapping_add(1);
        let count = self.channels.len();
        for at in 0..count {
            let channel = &mut self.channels[(self.turn + at) % count];
            channel.pump_output(set, &mut self.buffer, &mut self.outbox);
        }
        self.finish_channels();
        Ok(())
    }

    fn next_frame(&mut self) -> Option<Frame> {
        self.outbox.pop()
    }

    fn timeout(&self) -> Option<Duration> {
        let due = self.channels.iter().any(Channel::is_due);
        (due || !self.outbox.is_empty()).then_some(Duration::ZERO)
    }

    fn backlog(&self) -> usize {
        0
    }
}

/// The first message of a side that runs processes.
pub fn hello() -> Event {
    Event::Hello {
        version: isola_proto::VERSION,
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
    }
}

fn version_failure() -> Failure {
    invalid(format!(
        "this side speaks version {} of the protocol only",
        isola_proto::VERSION
    ))
}

//! What clients ask for.

use std::time::{Duration, Instant};

use isola_proto::{ErrorKind, Failure, Frame, Kind, Request};

use crate::control::Command;
use crate::state::State;

use super::clients::{Address, ClientId};
use super::{Exec, MAIN, Phase, Supervisor};

impl Supervisor {
    pub(super) fn client_frame(&mut self, client: ClientId, frame: Frame) {
        let from = Address {
            client,
            channel: frame.channel,
        };
        match frame.kind {
            Kind::Request => match frame.parse::<Command>() {
                Ok(command) => self.command(client, command),
                Err(error) => self
                    .clients
                    .fail(from, Failure::new(ErrorKind::Invalid, error.to_string())),
            },
            Kind::Stdin => self.client_input(from, frame.payload),
            // Output is credited by what the connection takes, not by the client.
            _ => {}
        }
    }

    fn client_input(&mut self, from: Address, bytes: Vec<u8>) {
        if self.typing.contains(&from) {
            if self.input.queued_from(from.client) + bytes.len()
                > isola_proto::frame::WINDOW as usize
            {
                return self.clients.fail(
                    from,
                    Failure::new(ErrorKind::Invalid, "more input than was granted"),
                );
            }
            self.input.push(from, bytes);
        } else if let Some(channel) = self.exec_of(from) {
            self.peer_send(Frame::data(Kind::Stdin, channel, bytes));
        }
    }

    /// The peer's channel of an exec that a client started.
    fn exec_of(&self, from: Address) -> Option<u32> {
        self.execs
            .iter()
            .find(|(_, exec)| exec.owner == Some(from))
            .map(|(channel, _)| *channel)
    }

    fn target_of(&self, from: Address) -> Option<u32> {
        let main = self.attached.contains(&from) || self.launchers.contains(&from);
        main.then_some(MAIN).or_else(|| self.exec_of(from))
    }

    fn command(&mut self, client: ClientId, command: Command) {
        let at = |channel| Address { client, channel };
        match command {
            Command::Launch {
                channel,
                attach,
                stdin,
                hold,
                networks,
                size,
            } => {
                self.terminal = size;
                self.hold = hold;
                self.networks = networks || !hold;
                if attach {
                    self.attach(at(channel), stdin);
                }
                self.launchers.push(at(channel));
                self.launch();
            }
            Command::Attach { channel, stdin } => match self.phase {
                Phase::Starting | Phase::Running => self.attach(at(channel), stdin),
                _ => self.refuse(at(channel), "is not running"),
            },
            Command::Exec {
                channel,
                process,
                detach,
            } => self.exec(at(channel), process, detach),
            Command::Signal { channel, signal } => {
                if let Some(channel) = self.target_of(at(channel)) {
                    self.to_peer(&Request::Signal { channel, signal });
                }
            }
            Command::Resize { channel, size } => {
                if let Some(channel) = self.target_of(at(channel)) {
                    self.to_peer(&Request::Resize { channel, size });
                }
            }
            Command::Detach { channel } => {
                let from = at(channel);
                if self.attached.contains(&from) {
                    self.tell("detach", &[]);
                }
                self.attached.retain(|address| *address != from);
                self.typing.retain(|address| *address != from);
                if let Some(channel) = self.exec_of(from) {
                    self.execs
                        .entry(channel)
                        .and_modify(|exec| exec.owner = None);
                    self.to_peer(&Request::Detach { channel });
                }
            }
            Command::Stop {
                channel,
                timeout,
                signal,
                removal,
            } => {
                self.stop_asked |= !removal;
                self.stoppers.push(at(channel));
                let workload = &self.record.workload;
                let timeout = timeout.or(workload.stop_timeout).map(Duration::from_secs);
                let signal = signal.unwrap_or(workload.stop_signal);
                self.status.stopped_by_user = true;
                self.begin_stop(signal, timeout);
            }
            Command::Kill { channel, signal } => self.kill(at(channel), signal),
            Command::Pause { channel } => self.freeze(at(channel), true),
            Command::Unpause { channel } => self.freeze(at(channel), false),
            Command::Wait { channel } => self.waiters.push(at(channel)),
            Command::Healthy { channel } => self.await_health(at(channel)),
            Command::Processes { channel } => {
                let id = self.query(at(channel));
                self.to_peer(&Request::Processes { id });
            }
            Command::Usage { channel, inside } => self.usage(at(channel), inside),
            Command::Connect {
                channel,
                attachment,
            } => self.connect_network(at(channel), &attachment),
            Command::Disconnect { channel, network } => {
                self.disconnect_network(at(channel), &network)
            }
            Command::Renamed { channel } => {
                if let Ok(Some(record)) = crate::state::read_json(&self.paths.config()) {
                    self.record = record;
                }
                self.clients.done(at(channel));
            }
        }
    }

    /// `what` completes "instance NAME ...".
    pub(super) fn refuse(&mut self, to: Address, what: &str) {
        let message = format!("instance {} {what}", self.record.name);
        self.clients
            .fail(to, Failure::new(ErrorKind::Invalid, message));
    }

    fn attach(&mut self, from: Address, stdin: bool) {
        self.tell("attach", &[]);
        self.attached.push(from);
        if stdin {
            self.typing.push(from);
        }
    }

    fn exec(&mut self, from: Address, mut process: Box<isola_proto::ProcessSpec>, detached: bool) {
        self.name_neighbour(&mut process.env);
        if !matches!(self.phase, Phase::Running) {
            return self.refuse(from, "is not running");
        }
        // What was changed is read by a process that is not frozen with the others.
        let reads = matches!(process.program, isola_proto::Program::Changes { .. });
        if self.status.state == State::Paused && !reads {
            return self.refuse(from, "is paused, unpause it before exec");
        }
        self.next += 1;
        let channel = self.next;
        let told = self.tell_exec(&process.program);
        self.execs.insert(
            channel,
            Exec {
                owner: Some(from),
                owed: 0,
                detached,
                told,
            },
        );
        self.to_peer(&Request::Exec { channel, process });
    }

    fn kill(&mut self, from: Address, signal: i32) {
        if !matches!(self.phase, Phase::Running) {
            return self.refuse(from, "is not running");
        }
        if signal == libc::SIGKILL || signal == self.record.workload.stop_signal {
            self.status.stopped_by_user = true;
        }
        if signal == libc::SIGKILL {
            // As Docker has it: whoever asks for this end is answered when it has come.
            self.stoppers.push(from);
            return self.begin_stop(libc::SIGKILL, None);
        }
        self.to_peer(&Request::Signal {
            channel: MAIN,
            signal,
        });
        self.tell_signal(signal);
        self.clients.done(from);
    }

    fn freeze(&mut self, from: Address, freeze: bool) {
        if !matches!(self.phase, Phase::Running) {
            return self.refuse(from, "is not running");
        }
        let paused = self.status.state == State::Paused;
        if paused == freeze {
            return self.refuse(
                from,
                if freeze {
                    "is already paused"
                } else {
                    "is not paused"
                },
            );
        }
        let result = match &self.cgroup {
            Some(cgroup) if freeze => cgroup.freeze(),
            Some(cgroup) => cgroup.thaw(),
            None => return self.refuse(from, "has no cgroup to freeze"),
        };
        match result {
            Ok(()) => {
                self.status.state = if freeze {
                    State::Paused
                } else {
                    State::Running
                };
                if let Some(sandbox) = &mut self.sandbox {
                    sandbox.paused(freeze);
                }
                self.write_status();
                self.tell(if freeze { "pause" } else { "unpause" }, &[]);
                self.clients.done(from);
            }
            Err(error) => self.clients.fail(from, error.into()),
        }
    }

    pub(super) fn query(&mut self, from: Address) -> u32 {
        self.next += 1;
        self.queries.insert(self.next, from);
        self.next
    }

    fn usage(&mut self, from: Address, inside: bool) {
        if inside {
            let id = self.query(from);
            return self.to_peer(&Request::Usage { id });
        }
        match self.cgroup.as_ref().map(|cgroup| cgroup.usage()) {
            Some(Ok(usage)) => self.clients.event(
                from.client,
                &isola_proto::Event::Usage {
                    id: from.channel,
                    usage,
                },
            ),
            Some(Err(error)) => self.clients.fail(from, error.into()),
            None => self.refuse(from, "has no cgroup to read"),
        }
    }

    /// Asks the workload to end with `signal`, and makes it after `timeout`, if one
    /// is given.
    pub(super) fn begin_stop(&mut self, signal: i32, timeout: Option<Duration>) {
        match self.phase {
            Phase::Running => {
                self.thaw_if_paused();
                self.to_peer(&Request::Signal {
                    channel: MAIN,
                    signal,
                });
                self.tell_signal(signal);
                let now = Instant::now();
                if signal == libc::SIGKILL {
                    self.destroy_at
                        .get_or_insert(now + super::life::KILL_PATIENCE);
                } else if let Some(at) = timeout.and_then(|timeout| now.checked_add(timeout)) {
                    self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
                }
            }
            Phase::Starting => self.destroy_at = Some(Instant::now()),
            Phase::Waiting(_) => self.finish(),
            // Nothing was taken yet.
            Phase::Idle => self.phase = Phase::Done,
            Phase::Ending(_) | Phase::Done => {}
        }
    }

    pub(super) fn thaw_if_paused(&mut self) {
        if self.status.state == State::Paused
            && let Some(cgroup) = &self.cgroup
        {
            if let Err(error) = cgroup.thaw() {
                eprintln!("isola-supervisor: {error}");
            }
            self.status.state = State::Running;
            if let Some(sandbox) = &mut self.sandbox {
                sandbox.paused(false);
            }
        }
    }

    pub(super) fn stop_by_signal(&mut self) {
        let workload = &self.record.workload;
        let (signal, timeout) = (
            workload.stop_signal,
            workload.stop_timeout.map(Duration::from_secs),
        );
        self.begin_stop(signal, timeout);
    }
}

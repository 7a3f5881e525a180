//! What the side that runs the processes says, and to whom it matters.

use isola_proto::{Event, Frame, Kind, Request};

use super::clients::Address;
use super::log::Stream;
use super::{MAIN, Phase, Supervisor};

impl Supervisor {
    pub(super) fn peer_send(&mut self, frame: Frame) {
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.peer().send(frame);
        }
    }

    // It names the receiver; nothing is converted.
    #[allow(clippy::wrong_self_convention)]
    pub(super) fn to_peer(&mut self, request: &Request) {
        self.peer_send(Frame::message(Kind::Request, request));
    }

    pub(super) fn peer_frames(&mut self) {
        while let Some(frame) = self
            .sandbox
            .as_mut()
            .and_then(|sandbox| sandbox.peer().next_frame())
        {
            match frame.kind {
                Kind::Stdout | Kind::Stderr => self.output(frame),
                Kind::CreditInput => self.input_credit(&frame),
                Kind::Event => match frame.parse() {
                    Ok(event) => self.event(event),
                    Err(error) => eprintln!("isola-supervisor: the peer sent nonsense: {error}"),
                },
                _ => {}
            }
        }
    }

    fn output(&mut self, frame: Frame) {
        let bytes = u32::try_from(frame.payload.len()).unwrap_or(0);
        if frame.channel != MAIN {
            if let Some(exec) = self.execs.get_mut(&frame.channel) {
                exec.owed = exec.owed.saturating_add(bytes);
                if let Some(health) = &mut self.health {
                    health.output(frame.channel, &frame.payload);
                }
                if let Some(owner) = exec.owner {
                    self.clients.send(owner, frame.kind, frame.payload);
                }
            }
            return;
        }
        self.owed = self.owed.saturating_add(bytes);
        let stream = if frame.kind == Kind::Stdout {
            Stream::Stdout
        } else {
            Stream::Stderr
        };
        if !self.hold
            && let Err(error) = self.log.write(stream, &frame.payload)
        {
            eprintln!("isola-supervisor: cannot write the log: {error}");
        }
        for to in &self.attached {
            self.clients.send(*to, frame.kind, frame.payload.clone());
        }
    }

    fn input_credit(&mut self, frame: &Frame) {
        if frame.channel == MAIN {
            self.input.credit(frame.credited());
        } else if let Some(owner) = self.execs.get(&frame.channel).and_then(|exec| exec.owner) {
            self.clients
                .send(owner, Kind::CreditInput, frame.payload.clone());
        }
    }

    /// Passes on as much input as the workload takes. Before it is there, the input
    /// waits here: the wall may have to be put up again.
    pub(super) fn feed_input(&mut self) {
        if self.sandbox.is_none() || matches!(self.phase, Phase::Starting) {
            return;
        }
        while let Some((from, bytes)) = self.input.pop() {
            let credit = u32::try_from(bytes.len())
                .unwrap_or(0)
                .to_le_bytes()
                .to_vec();
            self.clients.send(from, Kind::CreditInput, credit);
            self.peer_send(Frame::data(Kind::Stdin, MAIN, bytes));
        }
    }

    /// Grants the processes more output as far as those who listen keep up.
    pub(super) fn settle_credit(&mut self) {
        let mut grants = Vec::new();
        if self.owed > 0
            && self
                .attached
                .iter()
                .all(|to| self.clients.keeps_up(to.client))
        {
            grants.push((MAIN, std::mem::take(&mut self.owed)));
        }
        for (channel, exec) in &mut self.execs {
            if exec.owed > 0 && exec.owner.is_none_or(|to| self.clients.keeps_up(to.client)) {
                grants.push((*channel, std::mem::take(&mut exec.owed)));
            }
        }
        for (channel, bytes) in grants {
            self.peer_send(Frame::credit(Kind::CreditOutput, channel, bytes));
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Started { channel: MAIN, .. } => self.workload_started(),
            Event::Exited {
                channel: MAIN,
                status,
                oom_killed,
            } => self.workload_ended(status, oom_killed),
            Event::Failed {
                channel: MAIN,
                failure,
                ..
            } => self.workload_failed(failure),
            Event::Started { channel, pid } => {
                let told = self.execs.get(&channel).and_then(|exec| exec.told.clone());
                self.tell_exec_start(told.as_ref());
                let Some(exec) = self.execs.get_mut(&channel) else {
                    return;
                };
                let Some(owner) = exec.owner else { return };
                if exec.detached {
                    exec.owner = None;
                }
                let detached = exec.detached;
                self.clients.event(
                    owner.client,
                    &Event::Started {
                        channel: owner.channel,
                        pid,
                    },
                );
                if detached {
                    self.to_peer(&Request::Detach { channel });
                }
            }
            Event::Exited {
                channel,
                status,
                oom_killed,
            } => {
                self.health_ended(channel, Ok(status));
                let exec = self.execs.remove(&channel);
                let told = exec.as_ref().and_then(|exec| exec.told.as_ref());
                self.tell_exec_end(told, status);
                if let Some(Address { client, channel }) = exec.and_then(|exec| exec.owner) {
                    let event = Event::Exited {
                        channel,
                        status,
                        oom_killed,
                    };
                    self.clients.event(client, &event);
                }
            }
            Event::Failed {
                channel,
                id,
                failure,
            } => {
                self.interfaces_failed(id, &failure);
                self.health_ended(channel, Err(&failure));
                let exec = self.execs.remove(&channel).and_then(|exec| exec.owner);
                if let Some(to) = exec.or_else(|| self.queries.remove(&id)) {
                    self.clients.fail(to, failure);
                }
            }
            Event::Processes { id, processes } => {
                if let Some(to) = self.queries.remove(&id) {
                    self.clients.event(
                        to.client,
                        &Event::Processes {
                            id: to.channel,
                            processes,
                        },
                    );
                }
            }
            Event::Usage { id, usage } => {
                if let Some(to) = self.queries.remove(&id) {
                    self.clients.event(
                        to.client,
                        &Event::Usage {
                            id: to.channel,
                            usage,
                        },
                    );
                }
            }
            Event::Done { id } => self.interfaces_done(id),
            Event::Hello { .. } => {}
        }
    }
}

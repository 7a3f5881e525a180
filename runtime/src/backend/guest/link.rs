//! The line to a guest's agent: a peer that first greets the agent and lets it put
//! the guest together, then passes frames, and tells when the agent stops
//! answering. Nothing that the agent says is trusted beyond its meaning.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use isola_init::stream::{Conn, Peer, PollSet};
use isola_proto::message::GuestSpec;
use isola_proto::{Event, Frame, Kind, Request, VERSION};

/// Number of the `Boot` request; the supervisor counts its own from 1.
const BOOT: u32 = u32::MAX;
/// Pause between two greetings of a running agent.
const PULSE: Duration = Duration::from_secs(10);

/// How far the conversation is.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The kernel boots; the agent has not said hello.
    Hello,
    /// The agent puts the guest together.
    Boot,
    /// Frames pass.
    Ready,
}

/// How long a guest may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the start to a guest that is put together.
    pub(crate) boot: Duration,
    /// Between two signs of life.
    pub(crate) silence: Duration,
}

/// The line.
#[derive(Debug)]
pub(crate) struct AgentLink {
    conn: Conn,
    stage: Stage,
    guest: Option<GuestSpec>,
    waiting: VecDeque<Frame>,
    patience: Patience,
    heard: Instant,
    greeted: Instant,
    paused: bool,
    broken: Option<String>,
}

impl AgentLink {
    /// A line over a socket that the agent will answer on.
    ///
    /// # Errors
    /// The descriptor can't be made non-blocking.
    pub(crate) fn new(
        socket: OwnedFd,
        guest: GuestSpec,
        patience: Patience,
    ) -> io::Result<AgentLink> {
        let now = Instant::now();
        let mut link = AgentLink {
            conn: Conn::new(socket)?,
            stage: Stage::Hello,
            guest: Some(guest),
            waiting: VecDeque::new(),
            patience,
            heard: now,
            greeted: now,
            paused: false,
            broken: None,
        };
        link.greet();
        Ok(link)
    }

    /// Why the line is of no use any more, if so.
    pub(crate) fn broken(&self) -> Option<String> {
        if let Some(why) = &self.broken {
            return Some(why.clone());
        }
        let silent = self.heard.elapsed();
        match self.stage {
            _ if self.paused => None,
            Stage::Hello | Stage::Boot if silent > self.patience.boot => Some(format!(
                "the guest did not come up within {} s",
                self.patience.boot.as_secs()
            )),
            Stage::Ready if silent > self.patience.silence => Some(format!(
                "the guest has not answered for {} s",
                self.patience.silence.as_secs()
            )),
            _ => None,
        }
    }

    /// Whether the agent has closed its end.
    pub(crate) fn closed(&self) -> bool {
        self.conn.closed().is_some()
    }

    /// Whether the guest's kernel has yet to start the agent.
    pub(crate) fn is_booting(&self) -> bool {
        self.stage == Stage::Hello && !self.paused
    }

    /// A frozen guest can't answer; the clock stands still meanwhile.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.heard = Instant::now();
    }

    fn greet(&mut self) {
        self.greeted = Instant::now();
        self.conn.send(Frame::message(
            Kind::Request,
            &Request::Hello { version: VERSION },
        ));
    }

    fn hello(&mut self, version: u32) {
        if version != VERSION {
            self.broken = Some(format!(
                "the guest's agent speaks version {version} of the protocol, not {VERSION}"
            ));
        } else if self.stage == Stage::Hello
            && let Some(mut guest) = self.guest.take()
        {
            // Now: the kernel may have taken seconds to boot.
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            guest.time_ns = now
                .ok()
                .and_then(|now| u64::try_from(now.as_nanos()).ok())
                .unwrap_or_default();
            self.conn.send(Frame::message(
                Kind::Request,
                &Request::Boot { id: BOOT, guest },
            ));
            self.stage = Stage::Boot;
        }
    }

    fn ready(&mut self) {
        if self.stage == Stage::Boot {
            self.stage = Stage::Ready;
            for frame in std::mem::take(&mut self.waiting) {
                self.conn.send(frame);
            }
        }
    }

    /// Takes the events that are for this layer.
    fn own(&mut self, frame: &Frame) -> bool {
        if frame.kind != Kind::Event {
            return false;
        }
        match frame.parse::<Event>() {
            Ok(Event::Hello { version, .. }) => self.hello(version),
            Ok(Event::Done { id: BOOT }) => self.ready(),
            Ok(Event::Failed {
                id: BOOT, failure, ..
            }) => {
                self.broken = Some(format!(
                    "the guest could not be put together: {}",
                    failure.message
                ));
            }
            Ok(_) => return false,
            Err(error) => self.broken = Some(format!("the guest's agent sent nonsense: {error}")),
        }
        true
    }
}

impl Peer for AgentLink {
    fn send(&mut self, frame: Frame) {
        if self.stage == Stage::Ready {
            self.conn.send(frame);
        } else {
            self.waiting.push_back(frame);
        }
    }

    fn register(&self, set: &mut PollSet) {
        self.conn.register(set);
    }

    fn dispatch(&mut self, set: &PollSet) -> io::Result<()> {
        self.conn.dispatch(set)?;
        if self.stage == Stage::Ready && !self.paused && self.greeted.elapsed() >= PULSE {
            self.greet();
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Option<Frame> {
        while let Some(frame) = self.conn.next_frame() {
            self.heard = Instant::now();
            if !self.own(&frame) {
                return Some(frame);
            }
        }
        None
    }

    fn timeout(&self) -> Option<Duration> {
        if self.paused || self.closed() {
            return None;
        }
        Some(match self.stage {
            Stage::Ready => PULSE.saturating_sub(self.greeted.elapsed()),
            Stage::Hello | Stage::Boot => {
                (self.patience.boot + Duration::from_millis(1)).saturating_sub(self.heard.elapsed())
            }
        })
    }

    fn backlog(&self) -> usize {
        self.conn.backlog()
    }

    fn closed(&self) -> Option<&str> {
        self.conn.closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn pair(patience: Patience) -> (AgentLink, Conn) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (
            AgentLink::new(ours.into(), GuestSpec::default(), patience).unwrap(),
            Conn::new(theirs.into()).unwrap(),
        )
    }

    fn patient() -> Patience {
        Patience {
            boot: Duration::from_secs(60),
            silence: Duration::from_secs(60),
        }
    }

    /// Moves bytes both ways and returns what the agent's side and ours saw.
    fn turn(link: &mut AgentLink, agent: &mut Conn) -> (Vec<Frame>, Vec<Frame>) {
        let (mut at_agent, mut at_host) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let mut set = PollSet::default();
            link.register(&mut set);
            agent.register(&mut set);
            set.wait(Some(Duration::from_millis(10))).unwrap();
            link.dispatch(&set).unwrap();
            agent.dispatch(&set).unwrap();
            at_agent.extend(std::iter::from_fn(|| agent.next_frame()));
            at_host.extend(std::iter::from_fn(|| link.next_frame()));
        }
        (at_agent, at_host)
    }

    #[test]
    fn frames_wait_until_the_guest_is_put_together() {
        let (mut link, mut agent) = pair(patient());
        link.send(Frame::data(Kind::Stdin, 1, b"early".to_vec()));
        let (seen, _) = turn(&mut link, &mut agent);
        assert_eq!(seen.len(), 1, "only the greeting");
        agent.send(Frame::message(
            Kind::Event,
            &Event::Hello {
                version: VERSION,
                kernel: String::new(),
            },
        ));
        let (seen, _) = turn(&mut link, &mut agent);
        let Request::Boot { guest, .. } = seen[0].parse().unwrap() else {
            panic!("not told to put the guest together");
        };
        assert_ne!(guest.time_ns, 0, "the time of now, not of before the boot");
        agent.send(Frame::message(Kind::Event, &Event::Done { id: BOOT }));
        let (seen, passed) = turn(&mut link, &mut agent);
        assert_eq!(seen[0].payload, b"early");
        assert!(passed.is_empty(), "the handshake is not passed on");
        assert!(link.broken().is_none() && link.stage == Stage::Ready);
    }

    #[test]
    fn another_version_garbage_and_silence_break_the_line() {
        let (mut link, mut agent) = pair(patient());
        agent.send(Frame::message(
            Kind::Event,
            &Event::Hello {
                version: VERSION + 1,
                kernel: String::new(),
            },
        ));
        turn(&mut link, &mut agent);
        assert!(link.broken().unwrap().contains("version"));

        let (mut link, mut agent) = pair(patient());
        agent.send(Frame::data(Kind::Event, 0, b"{".to_vec()));
        turn(&mut link, &mut agent);
        assert!(link.broken().unwrap().contains("nonsense"));

        let (mut link, mut agent) = pair(Patience {
            boot: Duration::ZERO,
            silence: Duration::ZERO,
        });
        turn(&mut link, &mut agent);
        assert!(link.broken().unwrap().contains("did not come up"));
        link.pause(true);
        assert!(
            link.broken().is_none(),
            "a frozen guest is not a silent one"
        );
    }
}

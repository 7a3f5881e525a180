//! A running guest, seen from the host.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use isola_init::stream::{Conn, Peer, PollSet};
use isola_proto::message::GuestSpec;
use isola_proto::{Event, Frame, Kind, Request};

use crate::monitor;
use crate::parts::Parts;

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running guest and what its agent said.
pub(crate) struct Machine {
    monitor: Child,
    conn: Conn,
    pub(crate) frames: Vec<Frame>,
    console: PathBuf,
    pub(crate) started: Instant,
}

impl Machine {
    /// Starts a guest that was not told anything yet.
    pub(crate) fn start(parts: &Parts) -> Machine {
        let started = Instant::now();
        let (monitor, stream) = monitor::start(parts);
        Machine {
            monitor,
            conn: Conn::new(stream.into()).unwrap(),
            frames: Vec::new(),
            console: parts.path("console"),
            started,
        }
    }

    pub(crate) fn request(&mut self, request: &Request) {
        self.conn.send(Frame::message(Kind::Request, request));
    }

    pub(crate) fn send(&mut self, frame: Frame) {
        self.conn.send(frame);
    }

    /// The agent's stream has ended.
    pub(crate) fn is_cut(&self) -> bool {
        self.conn.closed().is_some()
    }

    pub(crate) fn until(&mut self, what: impl Fn(&Machine) -> bool) {
        let start = Instant::now();
        while !what(self) {
            assert!(start.elapsed() < PATIENCE, "nothing came\n{}", self.story());
            self.turn();
        }
    }

    fn turn(&mut self) {
        let mut set = PollSet::default();
        self.conn.register(&mut set);
        set.wait(Some(Duration::from_millis(10))).unwrap();
        self.conn.dispatch(&set).unwrap();
        while let Some(frame) = self.conn.next_frame() {
            if matches!(frame.kind, Kind::Stdout | Kind::Stderr) {
                let count = frame.payload.len() as u32;
                self.conn
                    .send(Frame::credit(Kind::CreditOutput, frame.channel, count));
            }
            self.frames.push(frame);
        }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let events = self.frames.iter().filter(|frame| frame.kind == Kind::Event);
        events.map(|frame| frame.parse().unwrap()).collect()
    }

    /// Waits for an event.
    pub(crate) fn event<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        self.until(|machine| machine.events().iter().any(|event| pick(event).is_some()));
        self.events().iter().find_map(pick).unwrap()
    }

    pub(crate) fn bytes(&self, channel: u32, kind: Kind) -> Vec<u8> {
        let of = |frame: &&Frame| frame.kind == kind && frame.channel == channel;
        let payloads = self.frames.iter().filter(of).map(|f| f.payload.as_slice());
        payloads.collect::<Vec<_>>().concat()
    }

    pub(crate) fn text(&self, channel: u32) -> String {
        String::from_utf8_lossy(&self.bytes(channel, Kind::Stdout)).into_owned()
    }

    pub(crate) fn boot(&mut self, guest: GuestSpec) -> Result<(), String> {
        self.request(&Request::Boot { id: 1, guest });
        self.event(|event| match event {
            Event::Done { id: 1 } => Some(Ok(())),
            Event::Failed { id: 1, failure, .. } => Some(Err(failure.message.clone())),
            _ => None,
        })
    }

    /// Waits until the machine has powered itself off.
    pub(crate) fn until_off(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.monitor.try_wait().unwrap() {
                assert!(status.success(), "{status}\n{}", self.story());
                return;
            }
            assert!(start.elapsed() < PATIENCE, "it stays on\n{}", self.story());
            self.turn();
        }
    }

    /// Drops the host's end of the stream, as a supervisor that was killed.
    pub(crate) fn abandon(&mut self) {
        let (other, _) = UnixStream::pair().unwrap();
        self.conn = Conn::new(other.into()).unwrap();
    }

    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    fn story(&self) -> String {
        let line = |frame: &Frame| {
            let text = String::from_utf8_lossy(&frame.payload);
            format!("{:?} {} {:.300}", frame.kind, frame.channel, text)
        };
        let frames: Vec<String> = self.frames.iter().map(line).collect();
        format!("{}\n--- console\n{}", frames.join("\n"), self.console())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}
